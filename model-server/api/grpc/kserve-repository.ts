import { create } from '@bufbuild/protobuf';
import type { ServerUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import {
  type ModelRepositoryParameter,
  type RepositoryIndexRequest,
  type RepositoryIndexResponse,
  RepositoryIndexResponseSchema,
  type RepositoryModelLoadRequest,
  type RepositoryModelLoadResponse,
  RepositoryModelLoadResponseSchema,
  type RepositoryModelUnloadRequest,
  type RepositoryModelUnloadResponse,
  RepositoryModelUnloadResponseSchema,
} from '../../../proto/gen/inference_pb.js';
import { ServingError } from '../../errors.ts';
import type { LoadOverride } from '../../models/admin.ts';
import type { ModelState, VersionReport } from '../../models/reports.ts';
import { adminCall } from '../admin/admin-call.ts';
import { overrideOf } from '../admin/override.ts';
import { type ApiDeps, measured } from '../call.ts';
import { answer, callerOf, decoded } from './call.ts';
import { NOT_EXPLICIT, toKserveStatus, toRepositoryStatus } from './kserve-error.ts';
import type { Undecodable } from './service.ts';

const STATES: Readonly<Record<ModelState, string>> = {
  ready: 'READY',
  loading: 'LOADING',
  draining: 'UNLOADING',
  unloaded: 'UNAVAILABLE',
  failed: 'UNAVAILABLE',
};

/** The repository methods of GRPCInferenceService. Loading and unloading is for those who may administrate. */
export function repositoryMethods(deps: ApiDeps): UntypedServiceImplementation {
  return {
    repositoryIndex: answer<RepositoryIndexRequest, RepositoryIndexResponse>(
      (call) => measured(deps, 'RepositoryIndex', async () => index(deps, decoded(call.request))),
      toKserveStatus,
    ),
    repositoryModelLoad: answer<RepositoryModelLoadRequest, RepositoryModelLoadResponse>(
      (call) => change(deps, 'RepositoryModelLoad', call, load),
      (error, request) => toRepositoryStatus('load', error, request),
    ),
    repositoryModelUnload: answer<RepositoryModelUnloadRequest, RepositoryModelUnloadResponse>(
      (call) => change(deps, 'RepositoryModelUnload', call, unload),
      (error, request) => toRepositoryStatus('unload', error, request),
    ),
  };
}

function index(deps: ApiDeps, { repositoryName, ready }: RepositoryIndexRequest): RepositoryIndexResponse {
  refuseRepositoryName(repositoryName);
  const reports = deps.admin.list();
  if (ready) return create(RepositoryIndexResponseSchema, { models: reports.filter(isReady).map(entry) });
  const shown = reports.filter(({ served, state }) => served || state !== 'unloaded');
  const names = new Set(shown.map(({ name }) => name));
  // Of a model whose versions have nothing to tell, only the name is listed.
  const others = new Set(reports.map(({ name }) => name).filter((name) => !names.has(name)));
  const models = [...shown.map(entry), ...[...others].map((name) => ({ name }))];
  return create(RepositoryIndexResponseSchema, { models });
}

function isReady({ state }: VersionReport): boolean {
  return state === 'ready';
}

function entry({ name, version, state, reason }: VersionReport) {
  // Clients tell a version that was unloaded from one that failed by this very word.
  const why = state === 'unloaded' ? 'unloaded' : reason;
  return { name, version: String(version), state: STATES[state], reason: why };
}

interface ChangeRequest {
  repositoryName: string;
  modelName: string;
  parameters: Record<string, ModelRepositoryParameter>;
}

function change<Request extends ChangeRequest, Response>(
  deps: ApiDeps,
  method: string,
  call: ServerUnaryCall<Request | Undecodable, Response>,
  run: (deps: ApiDeps, request: Request) => Promise<Response>,
): Promise<Response> {
  return adminCall(deps, {
    method,
    caller: callerOf(call),
    read: () => decoded(call.request),
    modelOf: ({ modelName }) => modelName,
    run: async (request) => {
      if (!deps.explicitControl) throw new ServingError('FORBIDDEN', NOT_EXPLICIT);
      refuseRepositoryName(request.repositoryName);
      return run(deps, request);
    },
  });
}

async function load(
  { admin }: ApiDeps,
  { modelName, parameters }: RepositoryModelLoadRequest,
): Promise<RepositoryModelLoadResponse> {
  await admin.load(modelName, overrideIn(parameters));
  return create(RepositoryModelLoadResponseSchema);
}

async function unload(
  { admin }: ApiDeps,
  { modelName, parameters }: RepositoryModelUnloadRequest,
): Promise<RepositoryModelUnloadResponse> {
  const unknown = Object.keys(parameters).find((key) => key !== 'unload_dependents');
  if (unknown !== undefined) throw unknownParameter(unknown, 'unload_dependents');
  await admin.unload(modelName);
  return create(RepositoryModelUnloadResponseSchema);
}

/** `config` is a string, `file:<path>` are bytes. */
function overrideIn(parameters: Record<string, ModelRepositoryParameter>): LoadOverride | undefined {
  let config = '';
  const files = new Map<string, Uint8Array>();
  for (const [key, { parameterChoice: choice }] of Object.entries(parameters)) {
    if (key === 'config' && choice.case === 'stringParam') config = choice.value;
    else if (key.startsWith('file:') && choice.case === 'bytesParam')
      files.set(key.slice('file:'.length), choice.value);
    else throw unknownParameter(key, "'config' as a string and 'file:<path>' as bytes");
  }
  return overrideOf(config, files);
}

function unknownParameter(key: string, known: string): ServingError {
  return new ServingError(
    'INVALID_INPUT',
    `unexpected parameter '${key.slice(0, 100)}'; there are ${known}.`,
  );
}

function refuseRepositoryName(name: string): void {
  if (name === '') return;
  throw new ServingError('TASK_NOT_SUPPORTED', "'repository_name' specification is not supported");
}
