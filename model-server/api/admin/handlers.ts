import {
  create,
  type DescMessage,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { AdminService } from '../../../proto/gen/admin_pb.js';
import { ServingError } from '../../errors.ts';
import type { AdminPort } from '../ports.ts';
import { aliasInfos } from './alias-message.ts';
import { canaryPlan } from './canary-plan.ts';
import { overrideOf } from './override.ts';
import { deviceMemory, modelDetails, modelInfo, whole } from './report-message.ts';
import { rolloutStatus } from './rollout-message.ts';

type Methods = (typeof AdminService)['method'];

/** AdminService of proto/admin.proto as functions from message to message, whatever carries them. */
type AdminHandlers = {
  [Name in keyof Methods]: (
    request: MessageShape<Methods[Name]['input']>,
  ) => Promise<MessageInitShape<Methods[Name]['output']>>;
};

/** One method, for whoever carries all of them alike. */
export interface AdminMethod {
  method: DescMethod;
  handle: (request: MessageShape<DescMessage>) => Promise<MessageShape<DescMessage>>;
}

/** Each method of AdminService over the models. */
export function adminMethods(admin: AdminPort, serverVersion: string): AdminMethod[] {
  const handlers: AdminHandlers = { ...modelHandlers(admin, serverVersion), ...rolloutHandlers(admin) };
  return Object.entries(AdminService.method).map(([name, method]) => {
    // The table's type has tied each method to its own handler; here they are all alike.
    const handler = handlers[name as keyof Methods] as (request: object) => Promise<Record<string, unknown>>;
    const output: DescMessage = method.output;
    return { method, handle: async (request) => create(output, await handler(request)) };
  });
}

/** The model that an admin request names; empty when it names none. */
export function modelOf(request: MessageShape<DescMessage>): string {
  return 'model' in request && typeof request.model === 'string' ? request.model : '';
}

type RolloutMethod = 'getRollout' | 'setTraffic' | 'setShadow' | 'startCanary' | 'promote' | 'rollBack';

function modelHandlers(admin: AdminPort, serverVersion: string): Omit<AdminHandlers, RolloutMethod> {
  return {
    listModels: async () => ({
      models: admin.list().map(modelInfo),
      serverVersion,
      aliases: aliasInfos(admin),
    }),
    showModel: async ({ model, version }) => ({
      versions: (await admin.show(model, version || undefined)).map(modelDetails),
    }),
    loadModel: async ({ model, config, files }) => ({
      versions: (await admin.load(model, overrideOf(config, new Map(Object.entries(files))))).map(modelInfo),
    }),
    unloadModel: async ({ model, version }) => ({
      versions: (await admin.unload(model, version || undefined)).map(modelInfo),
    }),
    drain: async ({ model, resume }) => {
      admin.drain(model, resume);
      return {};
    },
    compare: async ({ model, a, b }) => {
      if (a === 0 || b === 0)
        throw new ServingError(
          'INVALID_INPUT',
          'a comparison needs two versions ("a" and "b"), each at least 1.',
        );
      return admin.compare(model, a, b);
    },
    getMemory: async () => ({ devices: admin.memory().map(deviceMemory) }),
    cleanUp: async () => {
      const { evicted, freedBytes } = await admin.cleanUp();
      return { evicted, freedBytes: whole(freedBytes) };
    },
  };
}

function rolloutHandlers(admin: AdminPort): Pick<AdminHandlers, RolloutMethod> {
  return {
    getRollout: async ({ model }) => ({ status: rolloutStatus(admin.rolloutStatus(model)) }),
    setTraffic: async ({ model, alias, weights, makeDefault, mixedSpaces }) => {
      const change = { alias, weights, makeDefault, mixedSpaces };
      return { status: rolloutStatus(await admin.setTraffic(model, change)) };
    },
    setShadow: async ({ model, shadow }) => {
      const wanted = shadow === undefined ? undefined : { version: shadow.version, percent: shadow.percent };
      return { status: rolloutStatus(await admin.setShadow(model, wanted)) };
    },
    startCanary: async ({ model, plan }) => {
      const { plan: inForce } = admin.rolloutStatus(model);
      const versions = admin.list().filter(({ name }) => name === model);
      return { status: rolloutStatus(await admin.startCanary(model, canaryPlan(plan, inForce, versions))) };
    },
    promote: async ({ model }) => ({ status: rolloutStatus(await admin.promote(model)) }),
    rollBack: async ({ model }) => ({ status: rolloutStatus(await admin.rollBack(model)) }),
  };
}
