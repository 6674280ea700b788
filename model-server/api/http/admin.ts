import { ServingError } from '../../errors.ts';
import { adminCall } from '../admin/admin-call.ts';
import { type AdminMethod, adminMethods, modelOf } from '../admin/handlers.ts';
import { type Caller, PROXY_HEADERS } from '../admin-guard.ts';
import type { ApiDeps } from '../call.ts';
import { codecOf, decodeMessage, errorAnswer, messageAnswer, pathOf } from './connect.ts';
import type { Answer, PostRequest, Routes } from './server.ts';

const MAX_BYTES = 1024 * 1024;
/** A load may carry the files of a model. */
const MAX_LOAD_BYTES = 64 * 1024 * 1024;

/** Each method of AdminService as `POST /nereid.admin.v1.AdminService/<Method>`, in the Connect protocol. */
export function adminRoutes(deps: ApiDeps): Routes {
  const routes = adminMethods(deps.admin, deps.serverVersion).map((known) => {
    const post = (request: PostRequest) => answer(deps, known, request);
    return [pathOf(known.method), { post }];
  });
  return Object.fromEntries(routes);
}

async function answer(deps: ApiDeps, { method, handle }: AdminMethod, request: PostRequest): Promise<Answer> {
  const codec = codecOf(request);
  if (typeof codec !== 'string') {
    deps.log.info(
      { method: method.name, peer: request.address, model: '', outcome: 'UNSUPPORTED' },
      'admin call',
    );
    return codec;
  }
  const maxBytes = method.localName === 'loadModel' ? MAX_LOAD_BYTES : MAX_BYTES;
  try {
    const message = await adminCall(deps, {
      method: method.name,
      caller: callerOf(request),
      read: async () => decodeMessage(method, codec, await request.readBody(maxBytes)),
      modelOf,
      run: handle,
    });
    return messageAnswer(method, codec, message);
  } catch (thrown) {
    return errorAnswer(ServingError.from(thrown));
  }
}

function callerOf({ headers, address }: PostRequest): Caller {
  return {
    address,
    authorization: headers.authorization,
    forwarded: PROXY_HEADERS.some((name) => headers[name] !== undefined),
    web: { origin: headers.origin, host: headers.host },
  };
}
