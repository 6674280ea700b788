import { ServingError } from '../../errors.ts';
import { type Caller, refuseStranger } from '../admin-guard.ts';
import { type ApiDeps, measured } from '../call.ts';

/** Characters of a name in the log at most. */
const MAX_NAME = 200;

/** One call of somebody who wants to administrate. */
export interface AdminCall<Request, Response> {
  method: string;
  caller: Caller;
  /** Reads the request; called only when the caller may administrate. */
  read: () => Request | Promise<Request>;
  /** The model that it is about, for the log. */
  modelOf: (request: Request) => string;
  run: (request: Request) => Promise<Response>;
}

/**
 * Lets the caller pass or not, runs the call, and writes method, caller, model and outcome to the log.
 * @throws ServingError only
 */
export function adminCall<Request, Response>(
  deps: ApiDeps,
  { method, caller, read, modelOf, run }: AdminCall<Request, Response>,
): Promise<Response> {
  return measured(deps, `admin.${method}`, async () => {
    let model = '';
    let outcome = 'OK';
    try {
      refuseStranger(caller, deps.adminRule);
      const request = await read();
      model = modelOf(request).slice(0, MAX_NAME);
      return await run(request);
    } catch (thrown) {
      outcome = ServingError.from(thrown).reason;
      throw thrown;
    } finally {
      deps.log.info({ method, peer: caller.address, model, outcome }, 'admin call');
    }
  });
}
