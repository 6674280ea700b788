import { ServingError } from '../../errors.ts';
import { type ApiDeps, measured } from '../call.ts';
import { CallContext } from '../call-context.ts';
import { type ServingMethod, servingMethods } from '../serving/methods.ts';
import { codecOf, decodeMessage, errorAnswer, messageAnswer, pathOf } from './connect.ts';
import { HttpCall } from './http-call.ts';
import type { Answer, PostRequest, Routes } from './server.ts';

/**
 * Each unary method of the serving services as `POST /nereid.serving.v1.<Service>/<Method>`, in the Connect protocol. The
 * headers stand for the metadata of the same names over gRPC.
 */
export function servingRoutes(deps: ApiDeps, { maxMessageBytes }: { maxMessageBytes: number }): Routes {
  const routes = servingMethods(deps).map((known) => {
    const post = (request: PostRequest) => answer(deps, known, { request, maxMessageBytes });
    return [pathOf(known.method), { post }];
  });
  return Object.fromEntries(routes);
}

async function answer(
  deps: ApiDeps,
  { method, handle }: ServingMethod,
  { request, maxMessageBytes }: { request: PostRequest; maxMessageBytes: number },
): Promise<Answer> {
  const codec = codecOf(request);
  if (typeof codec !== 'string') return codec;
  const arrivedMs = Date.now();
  // As over gRPC, a call counts from when all of it is there: how fast a client sends is none of the server's latency.
  const [body] = await Promise.allSettled([request.readBody(maxMessageBytes)]);
  try {
    const message = await measured(deps, method.name, async () => {
      if (body.status === 'rejected') throw body.reason;
      using call = new HttpCall(request, arrivedMs);
      return await handle(decodeMessage(method, codec, body.value), new CallContext(call));
    });
    return messageAnswer(method, codec, message);
  } catch (thrown) {
    return errorAnswer(ServingError.from(thrown));
  }
}
