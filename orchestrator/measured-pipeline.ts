import type { RagError } from './errors.ts';
import type { IngestOptions, IngestTask, PipelineDeps, PipelineOptions } from './ingest/pipeline.ts';
import { IngestPipeline } from './ingest/pipeline.ts';
import type { Metrics } from './metrics.ts';
import type { JobItem } from './ports.ts';

/** The ingest pipeline, with every settled document counted. */
export class MeasuredPipeline extends IngestPipeline {
  readonly #metrics: Pick<Metrics, 'documentSettled'>;

  constructor(deps: PipelineDeps, options: PipelineOptions & { metrics: Pick<Metrics, 'documentSettled'> }) {
    super(deps, options);
    this.#metrics = options.metrics;
  }

  override async ingest(task: IngestTask, options: IngestOptions): Promise<JobItem> {
    return this.#counted(await super.ingest(task, options));
  }

  override fail(task: IngestTask, error: RagError): JobItem {
    return this.#counted(super.fail(task, error));
  }

  #counted(item: JobItem): JobItem {
    this.#metrics.documentSettled({ status: item.status, embedded: item.embedded ?? 0 });
    return item;
  }
}
