import type { Writable } from 'node:stream';
import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import {
  type EmbedRequest,
  EmbedService,
  type EmbedStreamRequest,
  type EmbedStreamResponse,
  EmbedStreamResponseSchema,
} from '../../../proto/gen/serving_pb.js';
import { ServingError } from '../../errors.ts';
import { type ApiDeps, measured } from '../call.ts';
import { CallContext } from '../call-context.ts';
import { embed } from '../serving/embed.ts';
import { decoded, toStatus } from './call.ts';
import { Undecodable } from './service.ts';
import { unaryService } from './unary-service.ts';

/** Requests of one stream that are being answered, or whose answers wait to be sent; beyond that it is not read. */
const MAX_STREAM_IN_FLIGHT = 256;

/** EmbedService of proto/serving.proto. */
export function embedService(deps: ApiDeps): UntypedServiceImplementation {
  return {
    ...unaryService(deps, EmbedService),
    embedStream: (call: ServerDuplexStream<EmbedStreamRequest | Undecodable, EmbedStreamResponse>) =>
      embedStream(deps, call),
  };
}

function embedStream(
  deps: ApiDeps,
  call: ServerDuplexStream<EmbedStreamRequest | Undecodable, EmbedStreamResponse>,
): void {
  // The reason is in the context's signal; without a listener the error would end the process.
  call.on('error', () => undefined);
  let context: CallContext;
  try {
    context = new CallContext(call);
  } catch (thrown) {
    call.emit('error', toStatus(ServingError.from(thrown)));
    return;
  }
  sendTogether(call);
  let inFlight = 0;
  let ended = false;
  let paused = false;
  // A client that does not read its answers is not read either, or the answers would pile up here. A few may: waiting for
  // the last one to be sent before the next request is read would leave a fast stream idle half of the time.
  const flow = () => {
    const isFull = inFlight + call.writableLength >= MAX_STREAM_IN_FLIGHT;
    if (isFull !== paused) {
      paused = isFull;
      if (isFull) call.pause();
      else call.resume();
    }
    if (ended && inFlight === 0) call.end();
  };
  call.on('drain', flow);
  call.on('data', (message: EmbedStreamRequest | Undecodable) => {
    inFlight++;
    flow();
    answer(deps, message, context).then((response) => {
      inFlight--;
      call.write(response);
      flow();
    });
  });
  call.on('end', () => {
    ended = true;
    flow();
  });
}

/**
 * Hands answers that have piled up to the transport all at once. As it is, a stream of grpc-js hands over one and waits until
 * it has been sent before it looks at the next, so that each is sent in a packet of its own.
 */
function sendTogether(call: Writable): void {
  const writeOne = call._write.bind(call);
  call._writev = (answers, done) => {
    let left = answers.length;
    // It tells of a message that was sent, and ends the call for one that could not be.
    const sent = () => {
      if (--left === 0) done();
    };
    for (const { chunk, encoding } of answers) writeOne(chunk, encoding, sent);
  };
}

/** @throws ServingError INVALID_INPUT */
function requestOf(message: EmbedStreamRequest | Undecodable): EmbedRequest {
  const { request } = decoded(message);
  if (request !== undefined) return request;
  throw new ServingError('INVALID_INPUT', 'the stream message holds no request.');
}

async function answer(
  deps: ApiDeps,
  message: EmbedStreamRequest | Undecodable,
  context: CallContext,
): Promise<EmbedStreamResponse> {
  const correlationId = message instanceof Undecodable ? '' : message.correlationId;
  try {
    const response = await measured(deps, 'EmbedStream', () => embed(deps, requestOf(message), context));
    return {
      $typeName: 'nereid.serving.v1.EmbedStreamResponse',
      correlationId,
      result: { case: 'response', value: response },
    };
  } catch (thrown) {
    const { reason, message: text, row, retryAfterMs } = ServingError.from(thrown);
    return create(EmbedStreamResponseSchema, {
      correlationId,
      result: {
        case: 'error',
        value: {
          reason,
          message: text,
          grpcCode: row.grpc,
          retryable: row.retryable,
          retryAfterMs: retryAfterMs ?? 0,
        },
      },
    });
  }
}
