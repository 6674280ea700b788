import { create } from '@bufbuild/protobuf';
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { ListModelsResponseSchema } from '../../../proto/gen/serving_pb.js';
import { aliasInfos } from '../admin/alias-message.ts';
import { modelInfo } from '../admin/report-message.ts';
import type { ApiDeps } from '../call.ts';
import { unary } from './call.ts';

/** ModelService of proto/serving.proto. */
export function modelService(deps: ApiDeps): UntypedServiceImplementation {
  const list = async () => {
    const { admin, serverVersion } = deps;
    const models = admin.list().map(modelInfo);
    return create(ListModelsResponseSchema, { serverVersion, models, aliases: aliasInfos(admin) });
  };
  return { listModels: unary(deps, 'ListModels', list) };
}
