import type { DescMessage, DescMethod, DescMethodUnary, MessageShape } from '@bufbuild/protobuf';
import { EmbedService, ModelService, RerankService } from '../../../proto/gen/serving_pb.js';
import type { ApiDeps } from '../call.ts';
import type { CallContext } from '../call-context.ts';
import { embed, tokenize } from './embed.ts';
import { listModels } from './models.ts';
import { rerank } from './rerank.ts';

/** One method of the serving services as a function from message to message, for whoever carries all of them alike. */
export interface ServingMethod {
  method: DescMethod;
  /** @throws ServingError */
  handle: (request: MessageShape<DescMessage>, context: CallContext) => Promise<MessageShape<DescMessage>>;
}

/** The unary methods of EmbedService, RerankService and ModelService of proto/serving.proto. */
export function servingMethods(deps: ApiDeps): ServingMethod[] {
  return [
    methodOf(EmbedService.method.embed, (request, context) => embed(deps, request, context)),
    methodOf(EmbedService.method.tokenize, (request, context) => tokenize(deps, request, context)),
    methodOf(RerankService.method.rerank, (request, context) => rerank(deps, request, context)),
    methodOf(ModelService.method.listModels, () => listModels(deps)),
  ];
}

/** Ties a handler to the messages of its own method; in the list they are all alike. */
function methodOf<Input extends DescMessage, Output extends DescMessage>(
  method: DescMethodUnary<Input, Output>,
  handle: (request: MessageShape<Input>, context: CallContext) => Promise<MessageShape<Output>>,
): ServingMethod {
  return { method, handle: (request, context) => handle(request as MessageShape<Input>, context) };
}
