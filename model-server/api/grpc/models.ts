import { create } from '@bufbuild/protobuf';
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { ListModelsResponseSchema } from '../../../proto/gen/serving_pb.js';
import { modelInfo } from '../admin/report-message.ts';
import type { ApiDeps } from '../call.ts';
import { unary } from './call.ts';

/** ModelService of proto/serving.proto. */
export function modelService(deps: ApiDeps): UntypedServiceImplementation {
  const list = async () => {
    const { admin, serverVersion } = deps;
    return create(ListModelsResponseSchema, { serverVersion, models: admin.list().map(modelInfo) });
  };
  return { listModels: unary(deps, 'ListModels', list) };
}
