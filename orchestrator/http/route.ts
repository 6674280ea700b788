import type { OutgoingHttpHeaders } from 'node:http';
import type { Request, Response } from 'express';
import type { z } from 'zod';
import type { Reason } from '../errors.ts';
import { RagError } from '../errors.ts';
import { readJson } from './json-body.ts';
import type { BodyBudget } from './request-body.ts';
import { announcedBytes, hasBody, welcomeBody } from './request-body.ts';
import { requestSignal } from './request-signal.ts';
import type { Payload } from './send.ts';
import { send } from './send.ts';
import { validate } from './validate.ts';

/** One answer that a route may give: JSON of a schema, server-sent events of a schema, plain text, or nothing. */
export interface ResponseSpec {
  description: string;
  json?: z.ZodType;
  /** Schema of the data of each event. */
  events?: z.ZodType;
  text?: boolean;
}

type Responses = Readonly<Record<number, ResponseSpec>>;

type ReplyOf<S, Spec> = Spec extends { json: infer J extends z.ZodType }
  ? { status: S; body: z.input<J>; headers?: OutgoingHttpHeaders | undefined }
  : Spec extends { text: true }
    ? { status: S; body: string; headers?: OutgoingHttpHeaders | undefined }
    : { status: S; headers?: OutgoingHttpHeaders | undefined };

/** What a handler returns: one of the declared answers, or that it has sent its own (events, for example). */
type Reply<R extends Responses> = { [S in keyof R]: ReplyOf<S, R[S]> }[keyof R] | 'sent';

/** What a handler gets: everything checked already. */
export interface Call<P, Q, B> {
  params: P;
  query: Q;
  /** Undefined when the request is a multipart upload. */
  body: B;
  request: Request;
  response: Response;
  /** Caller gone, time over, or shutdown. */
  signal: AbortSignal;
}

/** What stands in the API document, and what the router needs. */
export interface RouteDocument {
  method: 'get' | 'post' | 'delete';
  /** Parameters in braces: `/v1/jobs/{id}`. */
  path: string;
  summary: string;
  description?: string;
  /** Tells which part of the API it belongs to. */
  tag: string;
  params?: z.ZodObject;
  query?: z.ZodObject;
  /** The JSON body. */
  body?: z.ZodType;
  /** Text fields of a multipart upload; the route reads the upload itself. */
  multipart?: z.ZodObject;
  responses: Responses;
  /** Reasons that it may fail with, besides INTERNAL. */
  errors: readonly Reason[];
}

interface RouteSpec<P, Q, B, R extends Responses> extends RouteDocument {
  params?: z.ZodObject & z.ZodType<P>;
  query?: z.ZodObject & z.ZodType<Q>;
  body?: z.ZodType<B>;
  responses: R;
  /** Milliseconds that a call may take. */
  timeoutMs?: number;
  /** Bytes of JSON that it takes at most, where that is less than `maxJsonBytes`. */
  maxBodyBytes?: number;
  handle(call: Call<P, Q, B>): Promise<Reply<R>> | Reply<R>;
}

/** Limits and signals that are the same for every route. */
export interface RouteContext {
  maxJsonBytes: number;
  bodies: BodyBudget;
  stopping: AbortSignal;
}

/** A route with its types erased: what the API document and the router are both made from. */
export interface Route extends RouteDocument {
  run(request: Request, response: Response, context: RouteContext): Promise<void>;
}

const unbounded = Number.POSITIVE_INFINITY;

/** Declares a route; the handler's input and answers are typed by the schemas that check and document them. */
export function route<P, Q, B, const R extends Responses>(spec: RouteSpec<P, Q, B, R>): Route {
  const { handle, timeoutMs, maxBodyBytes = unbounded, ...documented } = spec;
  return {
    ...documented,
    async run(request, response, context) {
      const signal = requestSignal(response, { timeoutMs, stopping: context.stopping });
      const params = spec.params ? validate(spec.params, request.params, 'path') : (undefined as P);
      const query = spec.query ? validate(spec.query, request.query, 'query') : (undefined as Q);
      if (spec.body) checkBody(request, spec.multipart !== undefined);
      // An upload is read by the route itself.
      const schema = request.is('multipart/form-data') ? undefined : spec.body;
      const maxBytes = Math.min(maxBodyBytes, context.maxJsonBytes);
      // Small bodies are let through, so that a search never waits for the memory of an ingest.
      const counted =
        schema && maxBodyBytes === unbounded ? Math.min(announcedBytes(request) ?? maxBytes, maxBytes) : 0;
      using _memory = context.bodies.hold(counted);
      if (schema) welcomeBody(request, response);
      const body = schema ? validate(schema, await readJson(request, maxBytes), 'body') : (undefined as B);
      const reply = await handle({ params, query, body, request, response, signal });
      if (reply !== 'sent') send(request, response, reply as Payload);
    },
  };
}

function checkBody(request: Request, takesFiles: boolean): void {
  if (!hasBody(request)) throw new RagError('INVALID_INPUT', 'The request has no body; send JSON.');
  if (request.is('json') || (takesFiles && request.is('multipart/form-data'))) return;
  throw wrongType(request, takesFiles);
}

function wrongType(request: Request, takesFiles: boolean): RagError {
  const given = request.headers['content-type'];
  const wanted = takesFiles ? 'application/json, or multipart/form-data for files' : 'application/json';
  const message = `The body's content-type is ${given === undefined ? 'missing' : JSON.stringify(given.slice(0, 100))}; send ${wanted}.`;
  return new RagError('UNSUPPORTED_MEDIA_TYPE', message);
}
