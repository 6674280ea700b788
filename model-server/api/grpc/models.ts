import { create } from '@bufbuild/protobuf';
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { type ListModelsResponse, ListModelsResponseSchema } from '../../../proto/gen/serving_pb.js';
import { type ApiDeps, unary } from './call.ts';

/** ModelService of proto/serving.proto. */
export function modelService(deps: ApiDeps, serverVersion: string): UntypedServiceImplementation {
  return { listModels: unary(deps, 'ListModels', () => Promise.resolve(listModels(deps, serverVersion))) };
}

function listModels(deps: ApiDeps, serverVersion: string): ListModelsResponse {
  return create(ListModelsResponseSchema, {
    serverVersion,
    models: deps.registry.models.map((model) => ({
      name: model.folder.name,
      version: model.folder.version,
      state: model.state,
      reason: model.reason,
      tasks: model.tasks,
      space: model.space,
      dimension: model.dimension,
      maxTokens: model.maxTokens,
      instances: model.instances,
      loadMs: model.loadMs,
    })),
  });
}
