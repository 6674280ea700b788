import { ServingError } from '../errors.ts';
import { compareVersions } from './compare-versions.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Freed } from './memory/budget.ts';
import type { Model } from './model.ts';
import { type OverrideFiles, writeOverride } from './override-folder.ts';
import { detailsOf, reportsOf } from './report.ts';
import type { Comparison, DeviceMemory, VersionDetails, VersionReport } from './reports.ts';
import type { TrafficChange } from './rollout/plan-changes.ts';
import type { CanaryPlan, RolloutPlan, RolloutStatus } from './rollout/status.ts';

export interface AdminOptions {
  lifecycle: Lifecycle;
  /** Whether readiness asks every model to be ready. */
  strictReadiness: boolean;
  /** Told when what readiness rests on may have changed. */
  onReadiness: () => void;
}

/** What a load by command may bring along. */
export interface LoadOverride {
  /** A whole configuration, JSON of the message of config.pbtxt, that stands in for the folder's. */
  config?: string | undefined;
  /** Bytes by path (`1/model.onnx`) that stand in for the model's folder. */
  files?: OverrideFiles | undefined;
}

/** What operators ask and command, whatever door they come by. Everything throws ServingError only. */
export class Admin {
  readonly #lifecycle: Lifecycle;
  readonly #strict: boolean;
  readonly #onReadiness: () => void;
  /** Folders of files that came with a load, by model. */
  readonly #overrides = new Map<string, { remove: () => Promise<void> }>();
  #isDraining = false;

  constructor({ lifecycle, strictReadiness, onReadiness }: AdminOptions) {
    this.#lifecycle = lifecycle;
    this.#strict = strictReadiness;
    this.#onReadiness = onReadiness;
  }

  /** Every version of every model. */
  list(): VersionReport[] {
    return this.#lifecycle.registry.models.flatMap((model) => reportsOf(model, this.#lifecycle.host));
  }

  /** Whether requests should be sent here, and what that rests on. */
  readiness(): { ready: boolean; models: VersionReport[] } {
    const { registry } = this.#lifecycle;
    const isReady = this.#strict ? registry.ready : true;
    return { ready: isReady && !this.#isDraining, models: this.list() };
  }

  /** One version, or all, with the effective configuration and where each value came from. */
  async show(name: string, version?: number): Promise<VersionDetails[]> {
    const model = this.#model(name);
    const reports = reportsOf(model, this.#lifecycle.host);
    // Of one version two may be there: what its old files made finishes while the new ones serve.
    const shown = model.versions
      .map((placed, at) => detailsOf(reports[at]!, placed.version))
      .filter((details) => version === undefined || details.version === version);
    if (shown.length === 0 && version !== undefined) {
      throw new ServingError('VERSION_NOT_FOUND', `model ${name} has no version ${version} that is served.`);
    }
    return shown;
  }

  /**
   * Loads a model: looks at its folder anew, tries again what has failed, loads what is unloaded.
   * @throws ServingError MODEL_NOT_FOUND, MODEL_CONFIG_INVALID, MODEL_LOAD_FAILED, MEMORY_BUDGET_EXCEEDED, INVALID_INPUT
   */
  async load(name: string, { config, files }: LoadOverride = {}): Promise<VersionReport[]> {
    const brought =
      files === undefined || files.size === 0
        ? undefined
        : await writeOverride(name, { files, override: config });
    const command = { override: config, folder: brought?.folder };
    const failures = await this.#lifecycle.registry.load(name, command).catch(async (error: unknown) => {
      await brought?.remove();
      throw error;
    });
    await this.#keep(name, brought);
    this.#onReadiness();
    const [first] = failures;
    if (first === undefined) return this.#reports(name);
    const message = failures.map((failure) => failure.message).join('; ');
    throw new ServingError(first.reason, message, { cause: first, retryAfterMs: first.retryAfterMs });
  }

  /** Finishes what runs and gives the memory back; without a version, requests do not load the model again. */
  async unload(name: string, version?: number): Promise<VersionReport[]> {
    await this.#model(name).unload(version);
    this.#onReadiness();
    return this.#reports(name);
  }

  /** Takes no more requests for a model; for the server (no name) it says "not ready" and goes on serving. */
  drain(name: string, resume: boolean): void {
    if (name === '') this.#isDraining = !resume;
    else this.#model(name).drain(resume);
    this.#onReadiness();
  }

  rolloutStatus(name: string): RolloutStatus {
    return this.#model(name).rollout.status();
  }

  setTraffic(name: string, change: TrafficChange): Promise<RolloutStatus> {
    return this.#rollout(name, (model) => model.rollout.setTraffic(change));
  }

  setShadow(name: string, shadow: RolloutPlan['shadow']): Promise<RolloutStatus> {
    return this.#rollout(name, (model) => model.rollout.setShadow(shadow));
  }

  startCanary(name: string, plan: CanaryPlan): Promise<RolloutStatus> {
    return this.#rollout(name, (model) => model.rollout.startCanary(plan));
  }

  promote(name: string): Promise<RolloutStatus> {
    return this.#rollout(name, (model) => model.rollout.promote());
  }

  rollBack(name: string): Promise<RolloutStatus> {
    return this.#rollout(name, (model) => model.rollout.rollBack());
  }

  /** Whether the vectors (or rankings) of two versions agree; both are loaded for it. */
  compare(name: string, a: number, b: number): Promise<Comparison> {
    return compareVersions(this.#model(name), a, b);
  }

  /** The memory of each device that is accounted for. */
  memory(): DeviceMemory[] {
    const { residentBytes, host } = this.#lifecycle;
    return host.budgets().map((budget) => budget.report(budget.device === 'cpu' ? residentBytes : 0));
  }

  /** Unloads everything that is idle. */
  cleanUp(): Promise<Freed> {
    return this.#lifecycle.pressure.cleanUp('a clean-up was asked for');
  }

  /** Removes what loads have brought along. */
  async close(): Promise<void> {
    await Promise.all([...this.#overrides.values()].map(({ remove }) => remove()));
  }

  /** Of the files that loads have brought along only those that the model is made of are kept. */
  async #keep(name: string, brought: Awaited<ReturnType<typeof writeOverride>> | undefined): Promise<void> {
    const { folder, isPinned } = this.#model(name);
    const kept = this.#overrides.get(name);
    const isTaken = isPinned && folder === brought?.folder;
    if (isTaken) this.#overrides.set(name, brought);
    else if (!isPinned) this.#overrides.delete(name);
    if (!isTaken) await brought?.remove();
    if (isTaken || !isPinned) await kept?.remove();
  }

  async #rollout(name: string, change: (model: Model) => Promise<RolloutStatus>): Promise<RolloutStatus> {
    return change(this.#model(name));
  }

  #model(name: string): Model {
    return this.#lifecycle.registry.model(name);
  }

  #reports(name: string): VersionReport[] {
    return reportsOf(this.#model(name), this.#lifecycle.host);
  }
}
