import { ServingError } from '../errors.ts';
import type { Model } from './model.ts';
import { readGolden } from './opening/golden.ts';
import type { Comparison } from './reports.ts';
import { type ComparedVersion, compareVersions as judge } from './rollout/compare.ts';
import { comparisonTexts } from './rollout/comparison-texts.ts';
import { embedTexts, isText } from './run-task.ts';

/** More would hold up other requests for little more certainty. */
const MOST_TEXTS = 64;

/**
 * Embeds the same texts (of golden.json, if a version has one) with two versions of a model and compares the vectors.
 * Both are loaded for it.
 * @throws ServingError VERSION_NOT_FOUND, TASK_NOT_SUPPORTED for models that make no vectors, and whatever a load fails with
 */
export async function compareVersions(model: Model, a: number, b: number): Promise<Comparison> {
  for (const version of [a, b]) refuseUnserved(model, version);
  const texts = await textsOf(model, [a, b]);
  const [first, second] = [await vectorsOf(model, a, texts), await vectorsOf(model, b, texts)];
  return judge(first, second);
}

/** The moment to compare is before a version gets traffic, so who asks too early is told how to go on. */
function refuseUnserved(model: Model, version: number): void {
  const isServed = model.versions.some((placed) => placed.version.files.version === version);
  if (isServed || !model.folder.versions.some((files) => files.version === version)) return;
  throw new ServingError(
    'VERSION_NOT_FOUND',
    `version ${version} of model ${model.name} is in its folder but not served. Give it an alias of its own first, which changes nothing for others: nereid rollout set ${model.name} compared ${version}=1`,
  );
}

async function textsOf(model: Model, versions: readonly number[]): Promise<readonly string[]> {
  for (const version of versions) {
    const placed = model.versions.find((candidate) => candidate.version.files.version === version);
    const files = placed?.version.files;
    const golden = files && readGolden([files.versionFolder, files.folder]);
    if (golden !== undefined) return golden.cases.slice(0, MOST_TEXTS).map(({ text }) => text);
  }
  return comparisonTexts;
}

async function vectorsOf(model: Model, version: number, texts: readonly string[]): Promise<ComparedVersion> {
  const target = {
    model: model.name,
    version,
    alias: '',
    task: 'embed',
    expectSpace: '',
    stickyKey: '',
  } as const;
  using lease = await model.acquire(target);
  const { loaded } = lease;
  if (!isText(loaded) || !loaded.tasks.includes('embed')) {
    throw new ServingError('TASK_NOT_SUPPORTED', `${loaded.owner} makes no vectors that could be compared.`);
  }
  const { vectors } = await embedTexts(loaded, texts, { truncate: 'end' });
  return { version, space: loaded.space, vectors };
}
