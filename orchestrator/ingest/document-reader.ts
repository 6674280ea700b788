import { Worker } from 'node:worker_threads';
import { RagError } from '../errors.ts';
import type { DocumentFile, ReadDocument } from './document.ts';
import type { ReaderReply } from './reader-protocol.ts';
import { Slots } from './slots.ts';

const workerUrl = new URL(
  import.meta.url.endsWith('.ts') ? './reader-worker.ts' : './reader-worker.js',
  import.meta.url,
);

/** Files after which a worker is replaced, whatever its parsers kept. */
const MAX_FILES_PER_WORKER = 200;
/** How often a working worker's memory is looked at; V8 limits its own heap, but not typed arrays. */
const MEMORY_CHECK_MS = 200;

export interface DocumentReaderOptions {
  /** Milliseconds that one file may take. */
  timeoutMs: number;
  /** MB of JavaScript heap, and again of buffers outside of it, that one file may take. */
  memoryMb: number;
  /** Milliseconds without work after which a worker ends and gives its memory back. Default 2,000. */
  idleMs?: number | undefined;
  /** Files that are read at one time at most. Default 2. */
  maxWorkers?: number | undefined;
  /** The worker's code; another one only in tests. */
  worker?: URL | undefined;
}

export interface ReadOptions {
  signal?: AbortSignal | undefined;
  /** Called after each page of a format that has pages. */
  onPage?: ((done: number, total: number) => void) | undefined;
}

/**
 * Reads files in worker threads, so that a bad file can neither block the event loop, nor eat the memory, nor crash
 * the program. Workers are used again, and end when there is nothing to read.
 */
export class DocumentReader {
  readonly #options: DocumentReaderOptions;
  readonly #slots: Slots;
  readonly #idle: ReaderThread[] = [];
  readonly #busy = new Set<ReaderThread>();
  #closed = false;

  constructor(options: DocumentReaderOptions) {
    this.#options = options;
    this.#slots = new Slots(options.maxWorkers ?? 2);
  }

  /**
   * Waits for its turn, then reads; the time limit counts from there.
   * @throws RagError UNSUPPORTED_MEDIA_TYPE, DOCUMENT_UNREADABLE (broken, binary, or over its time or memory),
   * DOCUMENT_ENCRYPTED, DOCUMENT_HAS_NO_TEXT, CANCELLED, STOPPING
   */
  async read(file: DocumentFile, options: ReadOptions = {}): Promise<ReadDocument> {
    try {
      return await this.#slots.run(() => this.#read(file, options), options.signal);
    } catch (thrown) {
      throw RagError.from(thrown);
    }
  }

  /** Ends every worker; reads that run are cancelled. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#idle.splice(0), ...this.#busy].map((thread) => thread.end()));
  }

  async #read(file: DocumentFile, options: ReadOptions): Promise<ReadDocument> {
    if (this.#closed) throw stopping(file.name);
    options.signal?.throwIfAborted();
    const thread = this.#idle.pop() ?? new ReaderThread(this.#options);
    this.#busy.add(thread);
    try {
      return await thread.read(file, options);
    } finally {
      this.#busy.delete(thread);
      if (this.#closed || !thread.reusable) await thread.end();
      else this.#rest(thread);
    }
  }

  #rest(thread: ReaderThread): void {
    this.#idle.push(thread);
    thread.endAfter(this.#options.idleMs ?? 2_000, () => {
      this.#idle.splice(this.#idle.indexOf(thread), 1);
    });
  }
}

/** One worker thread and the file that it reads. */
class ReaderThread {
  readonly #options: DocumentReaderOptions;
  readonly #worker: Worker;
  #files = 0;
  #dead = false;
  #ending = false;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(options: DocumentReaderOptions) {
    this.#options = options;
    this.#worker = new Worker(options.worker ?? workerUrl, {
      resourceLimits: { maxOldGenerationSizeMb: options.memoryMb },
      // Parsers print warnings about damaged files, which are no business of this program's own output.
      stdout: true,
      stderr: true,
    });
    this.#worker.stdout.resume();
    this.#worker.stderr.resume();
    this.#worker.on('error', () => {
      this.#dead = true;
    });
    this.#worker.on('exit', () => {
      this.#dead = true;
    });
  }

  get reusable(): boolean {
    return !this.#dead && this.#files < MAX_FILES_PER_WORKER;
  }

  endAfter(idleMs: number, onEnd: () => void): void {
    this.#worker.unref();
    this.#idleTimer = setTimeout(() => {
      onEnd();
      void this.end();
    }, idleMs).unref();
  }

  async end(): Promise<void> {
    this.#dead = true;
    this.#ending = true;
    clearTimeout(this.#idleTimer);
    await this.#worker.terminate();
  }

  read(file: DocumentFile, { signal, onPage }: ReadOptions): Promise<ReadDocument> {
    clearTimeout(this.#idleTimer);
    this.#worker.ref();
    this.#files++;
    const name = file.name || 'The document';
    const { promise, resolve, reject } = Promise.withResolvers<ReadDocument>();
    const giveUp = (error: RagError) => {
      this.#dead = true;
      reject(error);
    };
    const onAbort = () => giveUp(RagError.from(signal?.reason));
    const onError = (error: Error) => giveUp(this.#crashed(name, error));
    const onExit = () => giveUp(this.#ending ? stopping(name) : this.#crashed(name));
    const onMessage = (reply: ReaderReply) => {
      if (reply.type === 'page') onPage?.(reply.done, reply.total);
      else if (reply.type === 'read') resolve(reply.document);
      else reject(new RagError(reply.reason, reply.message));
    };
    const timer = setTimeout(() => giveUp(this.#tooSlow(name)), this.#options.timeoutMs);
    const watch = setInterval(() => void this.#checkMemory(name, giveUp), MEMORY_CHECK_MS);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#worker.on('error', onError).on('exit', onExit).on('message', onMessage);
    this.#worker.postMessage(file);
    return promise.finally(() => {
      clearTimeout(timer);
      clearInterval(watch);
      signal?.removeEventListener('abort', onAbort);
      this.#worker.off('error', onError).off('exit', onExit).off('message', onMessage);
    });
  }

  async #checkMemory(name: string, giveUp: (error: RagError) => void): Promise<void> {
    const heap = await this.#worker.getHeapStatistics().catch(() => undefined);
    if (heap !== undefined && heap.external_memory > this.#options.memoryMb * 1_048_576)
      giveUp(this.#tooBig(name));
  }

  #crashed(name: string, error?: Error): RagError {
    if (error === undefined) return new RagError('DOCUMENT_UNREADABLE', `${name} stopped its reader.`);
    if ('code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY') return this.#tooBig(name);
    const message = `${name} made its reader fail: ${error.message}`;
    return new RagError('DOCUMENT_UNREADABLE', message, { cause: error });
  }

  #tooBig(name: string): RagError {
    const message = `Reading ${name} takes more than ${this.#options.memoryMb} MB of memory. Split it, or raise read-memory-mb.`;
    return new RagError('DOCUMENT_UNREADABLE', message);
  }

  #tooSlow(name: string): RagError {
    const message = `Reading ${name} takes more than ${this.#options.timeoutMs / 1_000} s. Split it, or raise read-timeout-ms.`;
    return new RagError('DOCUMENT_UNREADABLE', message);
  }
}

function stopping(name: string): RagError {
  return new RagError('STOPPING', `${name || 'The document'} was not read: the program is stopping.`);
}
