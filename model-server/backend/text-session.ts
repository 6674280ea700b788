import type { InferenceSession } from 'onnxruntime-node';
import type { SessionSettings } from '../types.ts';
import { Unpackable } from './graph/packing.ts';
import { knownTexts, packingFault, type Reference, referenceOf } from './prove-packing.ts';
import { giveBack, type RewrittenFile, rewriteFile } from './rewritten-file.ts';
import { type OpenSession, openSession } from './session.ts';
import { declaredTensors } from './session-tensors.ts';
import { findTextHead } from './text-head.ts';

/** A session for texts. */
export interface TextSession extends OpenSession {
  /** Whether its graph takes texts without padding. */
  packed: boolean;
  /** Why it does not; else empty. */
  whyPadded: string;
  /** The mark of the file, when its rewritten graph has been proved against it. */
  provenFile?: string | undefined;
}

/**
 * Opens a text encoder so that it takes texts without padding, where its graph can be rewritten for that and proves itself;
 * else as the file is. A rewritten graph that gives something else than the file is told in the note.
 * @param provenFiles marks of files that need not be opened as they are once more, to be compared
 * @throws Error when the file is no model that can be run
 */
export async function openTextSession(
  settings: SessionSettings,
  provenFiles: readonly string[],
): Promise<TextSession> {
  if (settings.packing === 'off') return asItIs(settings, 'packing is off');
  if ((settings.provider ?? 'cpu') !== 'cpu') return asItIs(settings, 'only sessions on the CPU are packed');
  let rewritten: RewrittenFile;
  try {
    rewritten = rewriteFile(settings.modelFile, settings.outputName);
  } catch (thrown) {
    return asItIs(settings, (thrown as Error).message, { isFault: !(thrown instanceof Unpackable) });
  }
  try {
    const provenFile = `${settings.graphLevel ?? 'all'} ${rewritten.mark}`;
    const isProven = provenFiles.includes(provenFile);
    const opened = await openProven(settings, { ...rewritten, isProven });
    return { ...opened, packed: true, whyPadded: '', provenFile };
  } catch (thrown) {
    return asItIs(settings, (thrown as Error).message, { isFault: true });
  }
}

async function asItIs(
  settings: SessionSettings,
  whyPadded: string,
  { isFault = false }: { isFault?: boolean } = {},
): Promise<TextSession> {
  const opened = await openSession(settings);
  const remark = isFault ? `texts are padded: ${whyPadded}` : '';
  const note = [opened.note, remark].filter((part) => part !== '').join('; ');
  return { ...opened, note, packed: false, whyPadded };
}

/** @throws Error with what is wrong with the rewritten graph; then nothing is left open */
async function openProven(
  settings: SessionSettings,
  { idCounts, model, isProven }: RewrittenFile & { isProven: boolean },
): Promise<OpenSession> {
  const reference = isProven ? undefined : await readReference(settings, idCounts);
  const opened = await openSession(settings, model);
  giveBack(model);
  return whileGood(opened.session, async () => {
    const { output } = headOf(opened.session, settings);
    const fault = await packingFault({ session: opened.session, output }, { idCounts, reference });
    if (fault !== undefined) throw new Error(fault);
    return opened;
  });
}

/** The file as it is has gone before the rewritten one is opened, so that the weights do not lie in memory twice. */
async function readReference(
  settings: SessionSettings,
  idCounts: RewrittenFile['idCounts'],
): Promise<Reference> {
  const { session } = await openSession(settings);
  try {
    return await referenceOf(session, knownTexts(idCounts));
  } finally {
    await session.release();
  }
}

function headOf(session: InferenceSession, { outputName }: SessionSettings) {
  const { inputs, outputs } = declaredTensors(session);
  return findTextHead(inputs, outputs, outputName);
}

/** Releases a session when what is done with it fails: its memory would stay. */
export async function whileGood<Result>(
  session: InferenceSession,
  use: () => Result | Promise<Result>,
): Promise<Result> {
  try {
    return await use();
  } catch (error) {
    await session.release();
    throw error;
  }
}
