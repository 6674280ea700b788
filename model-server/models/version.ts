import { ServingError } from '../errors.ts';
import type { InstanceState } from '../types.ts';
import type { Description } from './describe.ts';
import type { VersionHost } from './host.ts';
import { Leases } from './leases.ts';
import type { Loaded } from './loaded.ts';
import type { Reservation } from './memory/budget.ts';
import type { Resident } from './memory/ledger.ts';
import { NEXT_STATES } from './next-states.ts';
import { openVersion } from './opening/load.ts';
import { Reading, type ReadingOptions } from './reading.ts';
import { Recovery } from './recovery.ts';
import type { ModelState } from './reports.ts';
import type { CompleteVersion, VersionFiles } from './repository/version-files.ts';

/** What kept a version from being loaded a moment ago (no room, files that are being exchanged) hardly is over now. */
const PUT_OFF_MS = 5_000;

/** What a version made of these would have as its identity. */
export function identityOf(files: VersionFiles, override: string | undefined): string {
  return `${files.signature}\n${override ?? ''}`;
}

/** A hold on a ready version: it is not unloaded before all of them are released. */
export interface Lease extends Disposable {
  readonly version: ModelVersion;
  readonly loaded: Loaded;
}

/** One version of a model: its state, its leases, and what is loaded while it is ready. */
export class ModelVersion implements Resident {
  readonly files: CompleteVersion;
  /** Two versions of one identity are made of the same files and the same configuration. */
  readonly identity: string;
  readonly #host: VersionHost;
  readonly #reading: Reading;
  #state: ModelState = 'unloaded';
  #reason = '';
  #loaded: Loaded | undefined;
  #loading: Promise<void> | undefined;
  #unloading: Promise<void> | undefined;
  #reservations: Reservation[] = [];
  #everReady = false;
  #isRetired = false;
  #pins = 0;
  #loadMs = 0;
  #putOffMs = Number.NEGATIVE_INFINITY;
  #isStale = false;
  readonly #leases: Leases;
  readonly #recovery: Recovery;

  constructor(files: CompleteVersion, host: VersionHost, reading: ReadingOptions = {}) {
    this.files = files;
    this.identity = identityOf(files, reading.override);
    this.#host = host;
    this.#reading = new Reading(files, reading);
    this.#leases = new Leases(host.nowMs);
    this.#recovery = new Recovery(host.nowMs);
  }

  /** Name and version, for messages. */
  get owner(): string {
    return `model ${this.files.name} version ${this.files.version}`;
  }

  get state(): ModelState {
    return this.#loaded?.pool.failure === undefined ? this.#state : 'failed';
  }

  /** Why it is in this state; empty when there is nothing to say. */
  get reason(): string {
    return this.#loaded?.pool.failure?.message ?? this.#reason;
  }

  /** Whether it has served before, so that requests for it are worth a reload. */
  get everReady(): boolean {
    return this.#everReady;
  }

  /** Whether it has failed by the death of its workers, and so long ago that it is worth another try. */
  get mayRecover(): boolean {
    return this.state === 'failed' && this.#recovery.isDue;
  }

  /** Whether its load was put off a moment ago, so that whoever can should turn to another version. */
  get isPutOff(): boolean {
    return this.#state === 'unloaded' && this.#host.nowMs() - this.#putOffMs < PUT_OFF_MS;
  }

  /** Whether it can't answer now though it has not failed: no instance works, or its files are no longer what they were. */
  get isImpaired(): boolean {
    return this.#isStale || this.#loaded?.pool.healthy === false;
  }

  get loadMs(): number {
    return this.#loadMs;
  }

  /** What is known of it without loading it; undefined before `describe` has been called, or when that failed. */
  get description(): Description | undefined {
    return this.#reading.known;
  }

  /** What it runs on while it is ready. */
  get loaded(): Loaded | undefined {
    return this.#loaded;
  }

  get instances(): InstanceState[] {
    return this.#loaded?.pool.states ?? [];
  }

  get leases(): number {
    return this.#leases.count;
  }

  get lastUsedMs(): number {
    return this.#leases.lastUsedMs;
  }

  /** While it is loaded it is not evicted: what waits for it would have waited for nothing. While it is unloaded, who needs the room waits. */
  get pinned(): boolean {
    return this.#pins > 0 || (this.#state !== 'ready' && this.#state !== 'draining');
  }

  get keepAliveMs(): number {
    return this.description?.config.keepAliveMs ?? this.#host.defaults.keepAliveMs;
  }

  /**
   * Reads what the files say, once.
   * @throws ServingError MODEL_CONFIG_INVALID, or MODEL_LOAD_FAILED for an objection; the version has failed then
   */
  async describe(): Promise<Description> {
    try {
      return await this.#reading.read();
    } catch (thrown) {
      const error = ServingError.from(thrown);
      if (this.#state === 'unloaded') this.#transition('failed', error.message);
      throw error;
    }
  }

  /**
   * A hold on this version while it is ready; undefined when it is not.
   * Synchronous, so that nothing can come between the look at the state and the hold.
   */
  tryLease(): Lease | undefined {
    const loaded = this.#loaded;
    if (loaded === undefined || this.#state !== 'ready') return undefined;
    return { version: this, loaded, [Symbol.dispose]: this.#leases.take() };
  }

  /** Keeps it from being evicted, used or not, for as long as the work lasts. */
  async whilePinned<T>(work: () => Promise<T>): Promise<T> {
    this.#pins++;
    try {
      return await work();
    } finally {
      this.#pins--;
    }
  }

  /**
   * Makes it ready: waits for a load that is under way, or starts one; after an unload that is under way it loads again.
   * However many ask, it is loaded once. One that has been retired stays as it is: nobody would ever unload it.
   * @throws ServingError MODEL_CONFIG_INVALID, MODEL_LOAD_FAILED, MODEL_NOT_READY, MEMORY_BUDGET_EXCEEDED
   */
  async load(): Promise<void> {
    while (this.#state !== 'ready' && !this.#isRetired) {
      if (this.#unloading === undefined) this.#loading ??= this.#load();
      await (this.#unloading ?? this.#loading);
    }
  }

  /**
   * Takes no new requests from now on, finishes those that hold it, and gives the memory back.
   * @param why stays as the reason; empty for none
   */
  unload(why: string): Promise<void> {
    this.#unloading ??= this.#unload(why).finally(() => {
      this.#unloading = undefined;
    });
    return this.#unloading;
  }

  /** Unloads it for good: another has taken its place, or its folder has gone. */
  retire(why: string): Promise<void> {
    this.#isRetired = true;
    return this.unload(why);
  }

  async evict(why: string): Promise<void> {
    // One that goes by command goes for that reason, whoever waits for its room.
    if (this.#unloading === undefined) this.#host.observe(this.files)?.evicted(why);
    // Who makes room can do nothing about a thread that would not end in order.
    await this.unload(why).catch(() => undefined);
  }

  /** Ends the workers at once; what waits and runs fails with the reason. (A load ends by the host's signal.) */
  async destroy(reason: ServingError): Promise<void> {
    await this.#loading?.catch(() => undefined);
    this.#loaded?.scheduler.destroy(reason);
    await this.#loaded?.pool.destroy();
    await this.unload(reason.message);
  }

  async #load(): Promise<void> {
    const started = performance.now();
    this.#enter('loading', '');
    // Told once there is room: requests that are refused for want of it would flood the log and the health checks.
    let isTold = false;
    try {
      this.#loaded = await openVersion(
        {
          resident: this,
          files: this.files,
          description: await this.describe(),
          hold: (reservation) => {
            this.#reservations.push(reservation);
            if (!isTold) this.#tell();
            isTold = true;
          },
        },
        this.#host,
      );
      const { pool } = this.#loaded;
      pool.onChange(() => pool.failure !== undefined && this.#recovery.died());
      this.#loadMs = Math.round(performance.now() - started);
      this.#leases.touch();
      this.#recovery.clear();
      this.#everReady = true;
      this.#isStale = false;
      this.#transition('ready', '');
      this.#host.observe(this.files)?.loaded(this.#loadMs);
    } catch (thrown) {
      const error = ServingError.from(thrown);
      this.#releaseMemory();
      this.#isStale = error.reason === 'MODEL_NOT_READY';
      // With these nothing is wrong with the model: the next request may find room, or the files as they were.
      const isPutOff = this.#isStale || error.reason === 'MEMORY_BUDGET_EXCEEDED';
      this.#enter(isPutOff ? 'unloaded' : 'failed', error.message);
      if (isPutOff) this.#putOffMs = this.#host.nowMs();
      else this.#host.observe(this.files)?.failed();
      // Of the load failures only the death of a worker says when to try again.
      if (!isPutOff && error.retryAfterMs !== undefined) this.#recovery.died();
      if (!isPutOff || isTold) this.#tell();
      throw error;
    } finally {
      this.#loading = undefined;
    }
  }

  async #unload(why: string): Promise<void> {
    // A load can't be stopped half-way. (No await otherwise: what is evicted must be out of use before this call returns.)
    if (this.#loading !== undefined) await this.#loading.catch(() => undefined);
    const loaded = this.#loaded;
    if (this.#state === 'failed') {
      this.#reading.overrule();
      this.#transition('unloaded', why);
    }
    if (loaded === undefined || this.#state !== 'ready') return;
    this.#transition('draining', why);
    await this.#leases.whenFree();
    loaded.warming.abort();
    try {
      await loaded.scheduler.close();
      await loaded.pool.close();
    } finally {
      this.#loaded = undefined;
      this.#releaseMemory();
      this.#transition('unloaded', why);
    }
  }

  #releaseMemory(): void {
    for (const reservation of this.#reservations.splice(0)) reservation.release();
  }

  #transition(to: ModelState, reason: string): void {
    this.#enter(to, reason);
    this.#tell();
  }

  #enter(to: ModelState, reason: string): void {
    if (!NEXT_STATES[this.#state].includes(to))
      throw new ServingError('INTERNAL', `${this.owner} can't go from ${this.#state} to ${to}.`);
    this.#state = to;
    this.#reason = reason;
  }

  #tell(): void {
    this.#host.onState(this.files, this.#state, this.#reason);
  }
}
