import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Log } from '../../log.ts';
import type { Layout } from './layout.ts';

/** A layout that was found by measuring, and what it rests on. */
export interface MeasuredLayout {
  layout: Layout;
  /** The figures, in words. */
  evidence: string;
  /** When, as an ISO date. */
  date: string;
}

/** Each machine holds a few models; the oldest are forgotten. */
const MOST_ENTRIES = 300;
/** 300 entries take about 100 kB; a larger file is none of ours. */
const MOST_BYTES = 2 ** 20;

const threads = z.number().int().min(1).max(1024);
const entrySchema = z.object({
  layout: z.object({
    instances: threads,
    threads,
    lone: threads.optional(),
    loneTokens: z.number().int().min(0).optional(),
  }),
  evidence: z.string().max(1000),
  date: z.iso.datetime(),
});
const fileSchema = z.object({ format: z.literal(1), layouts: z.record(z.string(), entrySchema) });

type Entries = z.infer<typeof fileSchema>['layouts'];

const fileIn = (folder: string) => join(folder, 'layouts.json');

/**
 * Remembers measured layouts as long as the server runs and, in one file, from one start to the next. It only saves time: a
 * file that can't be read or written is told at debug level, and the next start measures again.
 */
export class LayoutCache {
  readonly #folder: string | undefined;
  readonly #log: Pick<Log, 'debug'>;
  /** For models that come and go while the server runs. */
  readonly #here = new Map<string, MeasuredLayout>();
  /** The last write; they take turns, so that two models of this server keep each other's entries. */
  #last: Promise<void> = Promise.resolve();

  /** @param folder made when the first layout is remembered; undefined: nothing outlives the server */
  constructor(folder: string | undefined, log: Pick<Log, 'debug'>) {
    this.#folder = folder;
    this.#log = log;
  }

  /** What was remembered under this key. Never rejects. */
  async find(key: string): Promise<MeasuredLayout | undefined> {
    const here = this.#here.get(key);
    if (here !== undefined || this.#folder === undefined) return here;
    const entries = await this.#read(fileIn(this.#folder));
    return Object.hasOwn(entries, key) ? entries[key] : undefined;
  }

  /** Remembers a layout as long as the server runs. */
  rememberHere(key: string, measured: MeasuredLayout): void {
    this.#here.set(key, measured);
    const [oldest] = this.#here.keys();
    if (this.#here.size > MOST_ENTRIES) this.#here.delete(oldest!);
  }

  /** Remembers a layout. Never rejects; resolves when it is on disk or can't be. */
  remember(key: string, measured: MeasuredLayout): Promise<void> {
    this.rememberHere(key, measured);
    const folder = this.#folder;
    if (folder !== undefined) this.#last = this.#last.then(() => this.#write(folder, key, measured));
    return this.#last;
  }

  async #read(file: string): Promise<Entries> {
    try {
      const status = await stat(file);
      if (!status.isFile() || status.size > MOST_BYTES)
        throw new Error(`it is no regular file of at most ${MOST_BYTES} bytes`);
      return fileSchema.parse(JSON.parse(await readFile(file, 'utf8'))).layouts;
    } catch (thrown) {
      const isAbsent = (thrown as NodeJS.ErrnoException).code === 'ENOENT';
      if (!isAbsent) this.#log.debug({ file, why: String(thrown) }, 'the layout cache is not used');
      return {};
    }
  }

  async #write(folder: string, key: string, measured: MeasuredLayout): Promise<void> {
    const file = fileIn(folder);
    // By rename, so that whoever reads meanwhile sees the old file or the new one.
    const draft = join(folder, `.layouts-${crypto.randomUUID()}`);
    try {
      const entries: Entries = { ...(await this.#read(file)), [key]: measured };
      const newest = Object.entries(entries)
        .sort(([, a], [, b]) => (a.date < b.date ? 1 : -1))
        .slice(0, MOST_ENTRIES);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const text = `${JSON.stringify({ format: 1, layouts: Object.fromEntries(newest) }, undefined, 1)}\n`;
      await writeFile(draft, text, { mode: 0o600, flag: 'wx' });
      await rename(draft, file);
    } catch (thrown) {
      this.#log.debug({ file, why: String(thrown) }, 'the layout can not be remembered');
      await rm(draft, { force: true }).catch(() => undefined);
    }
  }
}
