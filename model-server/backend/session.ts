import { InferenceSession } from 'onnxruntime-node';
import type { SessionSettings } from '../types.ts';

/** A session and what came of the wanted execution provider. */
export interface OpenSession {
  session: InferenceSession;
  executionProvider: string;
  /** Why it is not the wanted one; else empty. */
  note: string;
}

/** A file, or the bytes of one. */
type Model = string | Uint8Array;

/**
 * Opens a model on the wanted execution provider; operators that it lacks run on the CPU. Where the provider can't be
 * started the whole session runs on the CPU and the note says why, unless the provider is required.
 * @param model what is opened in place of the settings' file
 * @throws Error when the file is no model that can be run
 */
export async function openSession(
  settings: SessionSettings,
  model: Model = settings.modelFile,
): Promise<OpenSession> {
  const provider = settings.provider ?? 'cpu';
  if (provider === 'cpu')
    return { session: await create({ settings, model }, ['cpu']), executionProvider: 'cpu', note: '' };
  const { deviceId } = settings;
  const device = deviceId !== undefined && provider !== 'webgpu' ? { name: provider, deviceId } : provider;
  try {
    return {
      session: await create({ settings, model }, [device, 'cpu']),
      executionProvider: provider,
      note: '',
    };
  } catch (thrown) {
    const why = firstLine(thrown);
    if (settings.providerRequired) throw new Error(`execution provider ${provider} can't be started: ${why}`);
    const note = `wanted ${provider}, got cpu: ${why}`;
    return { session: await create({ settings, model }, ['cpu']), executionProvider: 'cpu', note };
  }
}

async function create(
  { settings, model }: { settings: SessionSettings; model: Model },
  executionProviders: InferenceSession.ExecutionProviderConfig[],
): Promise<InferenceSession> {
  const options: InferenceSession.SessionOptions = {
    executionProviders,
    intraOpNumThreads: settings.intraOpThreads,
    interOpNumThreads: settings.interOpThreads ?? 1,
    executionMode: settings.executionMode ?? 'sequential',
    graphOptimizationLevel: settings.graphLevel ?? 'all',
    enableCpuMemArena: settings.memArena ?? true,
    // Warnings of the runtime (an operator that runs on the CPU instead) are for its developers.
    logSeverityLevel: 3,
    ...(settings.spinsBetweenRuns === false ? { extra: { session: { force_spinning_stop: '1' } } } : {}),
  };
  try {
    return await (typeof model === 'string'
      ? InferenceSession.create(model, options)
      : InferenceSession.create(model, options));
  } catch (thrown) {
    throw explained(thrown);
  }
}

/** onnxruntime-node names types that it can't carry by number only. */
function explained(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || !thrown.message.includes('Unsupported data type: 16')) return thrown;
  return new Error(
    'an input or output is BF16, which onnxruntime-node does not carry; export the model with FP16 or FP32 inputs and outputs',
    { cause: thrown },
  );
}

/** The first line of a message, without the place in the runtime's source that it begins with. */
function firstLine(thrown: unknown): string {
  const line = (thrown instanceof Error ? thrown.message : String(thrown)).split('\n', 1)[0]!;
  return line.replace(/^\S*onnxruntime\S*:\d+ .* was false\. /, '');
}
