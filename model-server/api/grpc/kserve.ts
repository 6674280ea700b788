import { create } from '@bufbuild/protobuf';
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import {
  type ModelInferRequest,
  type ModelInferResponse,
  ModelInferResponseSchema,
  type ModelMetadataRequest,
  type ModelMetadataResponse,
  ModelMetadataResponseSchema,
  type ModelReadyRequest,
  type ModelReadyResponse,
  ModelReadyResponseSchema,
  ServerLiveResponseSchema,
  ServerMetadataResponseSchema,
  ServerReadyResponseSchema,
} from '../../../proto/gen/inference_pb.js';
import { ServingError } from '../../errors.ts';
import type { Target } from '../../models/target.ts';
import type { TensorSpec } from '../../types.ts';
import { type ApiDeps, measured } from '../call.ts';
import { CallContext } from '../call-context.ts';
import { answer, decoded } from './call.ts';
import { toKserveStatus, versionOf } from './kserve-error.ts';
import { inferPriority, inferTimeoutMs, refuseUnhonoured } from './kserve-parameters.ts';
import { repositoryMethods } from './kserve-repository.ts';
import { inputTensors } from './kserve-tensors.ts';

/** GRPCInferenceService of proto/inference.proto: health, metadata, raw tensors, the repository. */
export function kserveService(deps: ApiDeps): UntypedServiceImplementation {
  const unary = <Request extends object, Response>(
    method: string,
    handle: (request: Request, context: CallContext) => Response | Promise<Response>,
  ) =>
    answer<Request, Response>(
      (call) => measured(deps, method, async () => handle(decoded(call.request), new CallContext(call))),
      toKserveStatus,
    );
  const { admin, serverVersion } = deps;
  return {
    serverLive: unary('ServerLive', () => create(ServerLiveResponseSchema, { live: true })),
    serverReady: unary('ServerReady', () =>
      create(ServerReadyResponseSchema, { ready: admin.readiness().ready }),
    ),
    modelReady: unary('ModelReady', (request: ModelReadyRequest) => modelReady(deps, request)),
    serverMetadata: unary('ServerMetadata', () =>
      create(ServerMetadataResponseSchema, {
        name: 'nereid',
        version: serverVersion,
        extensions: ['model_repository'],
      }),
    ),
    modelMetadata: unary('ModelMetadata', (request: ModelMetadataRequest) => metadata(deps, request)),
    modelInfer: unary('ModelInfer', (request: ModelInferRequest, context) => infer(deps, request, context)),
    ...repositoryMethods(deps),
  };
}

function modelReady({ admin }: ApiDeps, request: ModelReadyRequest): ModelReadyResponse {
  const version = versionOf(request.version);
  const ready = admin
    .list()
    .some(
      (report) =>
        report.name === request.name && report.answers && (version === 0 || report.version === version),
    );
  return create(ModelReadyResponseSchema, { ready });
}

async function metadata(
  { admin, serving }: ApiDeps,
  request: ModelMetadataRequest,
): Promise<ModelMetadataResponse> {
  const { ref, inputs, outputs } = await serving.signature(targetOf(request.name, request.version, ''));
  const versions = admin
    .list()
    .filter(({ name, state }) => name === ref.name && state === 'ready')
    .map(({ version }) => version);
  return create(ModelMetadataResponseSchema, {
    name: ref.name,
    versions: [...new Set([...versions, ref.version])].sort((a, b) => a - b).map(String),
    platform: 'onnxruntime_onnx',
    inputs: inputs.map(tensorMetadata),
    outputs: outputs.map(tensorMetadata),
  });
}

function tensorMetadata({ name, dataType, shape }: TensorSpec) {
  return { name, datatype: dataType, shape: shape.map(BigInt) };
}

async function infer(
  deps: ApiDeps,
  request: ModelInferRequest,
  context: CallContext,
): Promise<ModelInferResponse> {
  const target = targetOf(request.modelName, request.modelVersion, context.stickyKey);
  refuseUnhonoured(request);
  const call = { inputs: inputTensors(request), outputs: request.outputs.map(({ name }) => name) };
  const { ref, outputs } = await deps.serving.infer(target, call, {
    signal: context.signal,
    deadlineMs: context.deadlineMs,
    timeoutMs: inferTimeoutMs(request),
    priority: inferPriority(request) ?? context.priority,
    tenant: context.tenant,
  });
  return create(ModelInferResponseSchema, {
    modelName: ref.name,
    modelVersion: String(ref.version),
    id: request.id,
    outputs: outputs.map(tensorMetadata),
    rawOutputContents: outputs.map(({ data }) => data),
  });
}

/** @throws ServingError INVALID_INPUT for a version that is none, MODEL_NOT_FOUND when no model is named */
function targetOf(model: string, version: string, stickyKey: string): Target {
  const target: Target = {
    model,
    version: versionOf(version),
    alias: '',
    task: 'infer',
    expectSpace: '',
    stickyKey,
  };
  if (model === '') throw new ServingError('MODEL_NOT_FOUND', 'the request names no model.');
  return target;
}
