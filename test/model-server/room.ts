import { RUNTIME_BYTES } from '../../model-server/models/memory/predict.ts';
import { type Harness, type HarnessOptions, target } from './lifecycle-harness.ts';
import { writeTextModel } from './onnx-writer.ts';
import { temporaryFolder } from './repository.ts';

export const MIB = 2 ** 20;
/** Weights of a model of tests about room, and so what it is measured as: resident memory does not move here. */
export const WEIGHTS = 16 * MIB;
/** What is predicted for one: weights, the arena of the largest batch, and a thread. */
export const PREDICTED = 31 * MIB;

/** A repository of models that each take room, and how to remove it. */
export function roomyRepository(...models: string[]) {
  const { path, remove } = temporaryFolder();
  for (const name of models) writeTextModel(path, name, { weightBytes: WEIGHTS });
  return { path, remove };
}

/** A budget in which this many models fit, one of them while it is loaded; nothing is loaded before it is asked for. */
export const roomFor = (models: number): HarnessOptions => ({
  preload: new Set(),
  residentBytes: () => 0,
  readMemory: () => ({ totalBytes: 1000 * MIB, availableBytes: 1000 * MIB }),
  budgetBytes: RUNTIME_BYTES + (models - 1) * WEIGHTS + PREDICTED,
});

export const end = { truncate: 'end' } as const;
export const ask = (server: Harness, model: string, version = 0) =>
  server.lifecycle.serving.embed(target(model, { version }), ['a text'], end);
export const memory = (server: Harness) => server.admin.memory()[0]!;
export const loaded = (server: Harness) =>
  Object.entries(server.states()).flatMap(([name, state]) => (state === 'ready' ? [name] : []));
