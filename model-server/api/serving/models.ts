import { create } from '@bufbuild/protobuf';
import { type ListModelsResponse, ListModelsResponseSchema } from '../../../proto/gen/serving_pb.js';
import { aliasInfos } from '../admin/alias-message.ts';
import { modelInfo } from '../admin/report-message.ts';
import type { ApiDeps } from '../call.ts';

/** ListModels of proto/serving.proto. @throws ServingError */
export async function listModels({ admin, serverVersion }: ApiDeps): Promise<ListModelsResponse> {
  const models = admin.list().map(modelInfo);
  return create(ListModelsResponseSchema, { serverVersion, models, aliases: aliasInfos(admin) });
}
