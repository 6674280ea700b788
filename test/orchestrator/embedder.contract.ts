import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Embedder, EmbeddingModel } from '../../orchestrator/ports.ts';

/** An embedder that two versions stand behind. */
export interface EmbedderSubject {
  embedder: Embedder;
  /** Answers when no space is asked for. */
  current: EmbeddingModel;
  /** Is served beside it, in another space. */
  older: EmbeddingModel;
  /** From now on `older` is not served. */
  withdraw(): void;
  /** From now on `older` answers when no space is asked for. */
  rollBack(): void;
  close(): Promise<void>;
}

/** What every implementation of the port keeps. */
export function embedderContract(name: string, open: () => Promise<EmbedderSubject>): void {
  describe(`${name} keeps spaces apart`, () => {
    let subject: EmbedderSubject;
    beforeEach(async () => {
      subject = await open();
    });
    afterEach(() => subject.close());

    it('and answers in the space that is asked for, whichever version answers otherwise', async () => {
      const { embedder, current, older } = subject;
      for (const model of [older, current, older]) {
        const { space } = model;
        expect(await embedder.describe({ space })).toEqual(model);
        const { vectors, truncated, ...made } = await embedder.embed(['a', 'b c'], { space });
        expect(made).toEqual(model);
        expect(vectors.map(({ length }) => length)).toEqual([model.dimension, model.dimension]);
        expect(truncated).toEqual([false, false]);
        expect(await embedder.countTokens(['b c'], { space })).toEqual([expect.any(Number)]);
      }
      expect(await embedder.describe()).toEqual(current);
      expect((await embedder.embed(['a'])).space).toBe(current.space);
    });

    it('and answers many at once, each in its own', async () => {
      const { embedder, current, older } = subject;
      const spaces = Array.from({ length: 20 }, (_, at) => [current, older][at % 2]!.space);
      const made = await Promise.all(spaces.map((space) => embedder.embed(['a'], { space })));
      expect(made.map(({ space }) => space)).toEqual(spaces);
    });

    it.each(['nowhere', ''])(
      'and refuses the space "%s", which nobody has, with those there are',
      async (space) => {
        const { embedder, current, older } = subject;
        for (const call of [
          () => embedder.describe({ space }),
          () => embedder.embed(['a'], { space }),
          () => embedder.countTokens(['a'], { space }),
        ]) {
          const error = await call().catch((thrown: unknown) => thrown);
          expect(error).toMatchObject({ reason: 'SPACE_MISMATCH' });
          expect((error as Error).message).toContain(current.space);
          expect((error as Error).message).toContain(older.space);
        }
      },
    );

    it('and refuses a space that has gone, though it has answered in it before', async () => {
      const { embedder, current, older } = subject;
      const { space } = older;
      await embedder.embed(['a'], { space });
      await embedder.countTokens(['a'], { space });
      subject.withdraw();
      await expect(embedder.countTokens(['a'], { space })).rejects.toMatchObject({
        reason: 'SPACE_MISMATCH',
      });
      await expect(embedder.embed(['a'], { space })).rejects.toMatchObject({ reason: 'SPACE_MISMATCH' });
      expect((await embedder.embed(['a'], { space: current.space })).space).toBe(current.space);
    });

    it('and tells which version answers now when it is asked again', async () => {
      const { embedder, current, older } = subject;
      expect(await embedder.describe()).toEqual(current);
      subject.rollBack();
      expect(await embedder.describe()).toEqual(older);
      expect((await embedder.embed(['a'], { space: current.space })).space).toBe(current.space);
    });
  });
}
