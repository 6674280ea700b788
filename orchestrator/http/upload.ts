import type { Request, Response } from 'express';
import multer from 'multer';
import { RagError } from '../errors.ts';
import type { Staged } from '../ingest/staged-input.ts';
import type { Staging } from '../ingest/staging.ts';
import { announcedBytes, welcomeBody } from './request-body.ts';

export interface UploadLimits {
  /** Bytes of the whole request. */
  maxRequestBytes: number;
  /** Bytes of one file. */
  maxUploadBytes: number;
  maxUploadFiles: number;
}

export interface UploadOptions {
  staging: Pick<Staging, 'write' | 'discard'>;
  limits: UploadLimits;
  signal: AbortSignal;
}

/** A file of an upload, complete in the staging area. */
export interface ReceivedFile {
  /** File name without folders. */
  name: string;
  mediaType: string;
  staged: Staged;
}

export interface Upload {
  /** In the order of the request. */
  files: ReceivedFile[];
  fields: Record<string, unknown>;
}

/**
 * Takes in a multipart upload: each file streams into the staging area, never wholly into memory. Stops reading at
 * the first limit; on any failure no staged file is left.
 * @throws RagError TOO_LARGE, INVALID_INPUT (broken multipart, no file), CANCELLED, STOPPING, STORE_UNAVAILABLE
 */
export async function receiveUpload(
  request: Request,
  response: Response,
  options: UploadOptions,
): Promise<Upload> {
  const { maxRequestBytes } = options.limits;
  const announced = announcedBytes(request) ?? 0;
  if (announced > maxRequestBytes) throw requestTooLarge(`${announced}`, options.limits);
  welcomeBody(request, response);
  const intake = new Intake(request, options);
  try {
    return await intake.receive(response);
  } catch (error) {
    await intake.discard(error);
    throw error;
  } finally {
    intake.release();
  }
}

/** One upload while it arrives. The first thing that goes wrong ends it at once; multer would read to the end first. */
class Intake {
  readonly #request: Request;
  readonly #options: UploadOptions;
  readonly #files: Promise<ReceivedFile>[] = [];
  readonly #stop = new AbortController();
  readonly #failure = Promise.withResolvers<never>();
  #bytes = 0;

  constructor(request: Request, options: UploadOptions) {
    this.#request = request;
    this.#options = options;
    this.#failure.promise.catch(() => undefined);
    request.on('data', this.#count);
    options.signal.addEventListener('abort', this.#gone, { once: true });
    if (options.signal.aborted) this.#gone();
  }

  async receive(response: Response): Promise<Upload> {
    const fields = await Promise.race([this.#parse(response), this.#failure.promise]);
    if (this.#files.length > 0) return { files: await Promise.all(this.#files), fields };
    const message =
      'The upload has no file: send at least one part with a file name (curl -F file=@report.pdf).';
    throw new RagError('INVALID_INPUT', message);
  }

  /** Removes what was staged; waits for running writes first. */
  async discard(reason: unknown): Promise<void> {
    this.#stop.abort(reason);
    const settled = await Promise.allSettled(this.#files);
    for (const file of settled) {
      if (file.status === 'fulfilled') await this.#options.staging.discard(file.value.staged.stagedFile);
    }
  }

  release(): void {
    this.#request.off('data', this.#count);
    this.#options.signal.removeEventListener('abort', this.#gone);
  }

  readonly #count = (chunk: Buffer) => {
    const { limits } = this.#options;
    this.#bytes += chunk.length;
    if (this.#bytes > limits.maxRequestBytes) {
      this.#fail(requestTooLarge(`more than ${limits.maxRequestBytes}`, limits));
    }
  };

  readonly #gone = () => this.#fail(this.#options.signal.reason);

  #fail(reason: unknown): void {
    this.#request.unpipe();
    this.#stop.abort(reason);
    this.#failure.reject(reason);
  }

  #parse(response: Response): Promise<Record<string, unknown>> {
    const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>();
    const storage: multer.StorageEngine = {
      _handleFile: (_request, file, done) => {
        this.#store(file).then(() => done(null), done);
      },
      _removeFile: (_request, _file, done) => done(null),
    };
    const limits = { fields: 16, fieldSize: 1024 * 1024, fieldNameSize: 100, fieldNestingDepth: 0 };
    const take = multer({ storage, limits, defParamCharset: 'utf8' }).any();
    take(this.#request, response, (thrown: unknown) => {
      if (thrown === undefined) resolve(this.#request.body as Record<string, unknown>);
      else reject(brokenMultipart(thrown));
    });
    return promise;
  }

  #store({ originalname, mimetype, stream }: Express.Multer.File): Promise<ReceivedFile> {
    const { staging, limits } = this.#options;
    const name = cleanName(originalname);
    const options = { maxBytes: limits.maxUploadBytes, signal: this.#stop.signal };
    const write = async (): Promise<ReceivedFile> => {
      if (this.#files.length >= limits.maxUploadFiles) throw tooManyFiles(limits);
      const staged = await staging.write(stream, options).catch((error) => {
        throw this.#inWords(error, name);
      });
      return { name, mediaType: mimetype, staged };
    };
    const received = write();
    received.catch((error) => this.#fail(error));
    this.#files.push(received);
    return received;
  }

  #inWords(thrown: unknown, name: string): unknown {
    const { signal, limits } = this.#options;
    if (signal.aborted) return signal.reason;
    const error = RagError.from(thrown);
    if (error.reason === 'TOO_LARGE') return fileTooLarge(name, limits);
    // Staging knows what its disk says; anything else was said by the stream that multer's parser fills.
    return error.reason === 'INTERNAL' ? brokenMultipart(error.cause ?? error) : error;
  }
}

/** Some clients send a path, and control characters would garble lists and logs. */
function cleanName(given: string): string {
  const name = given.split(/[/\\]/).at(-1) ?? '';
  return (
    name
      .replace(/\p{Cc}/gu, '')
      .slice(0, 255)
      .toWellFormed() || 'unnamed'
  );
}

function fileTooLarge(name: string, limits: UploadLimits): RagError {
  const message = `The file ${JSON.stringify(name)} has more than ${limits.maxUploadBytes} bytes, which is the limit for one file (--max-upload-bytes).`;
  return new RagError('TOO_LARGE', message, { details: { limit: limits.maxUploadBytes } });
}

function tooManyFiles(limits: UploadLimits): RagError {
  const message = `The upload has more than ${limits.maxUploadFiles} files, which is the limit (--max-upload-files); send them in several uploads.`;
  return new RagError('TOO_LARGE', message, { details: { limit: limits.maxUploadFiles } });
}

function requestTooLarge(actual: string, limits: UploadLimits): RagError {
  const message = `The upload has ${actual} bytes; one request may have ${limits.maxRequestBytes} (--max-request-bytes), and each file in it ${limits.maxUploadBytes} (--max-upload-bytes).`;
  return new RagError('TOO_LARGE', message, { details: { limit: limits.maxRequestBytes } });
}

function brokenMultipart(thrown: unknown): RagError {
  if (thrown instanceof RagError) return thrown;
  const said = thrown instanceof Error ? thrown.message : String(thrown);
  return new RagError('INVALID_INPUT', `The multipart body can't be read: ${said}.`, { cause: thrown });
}
