/** Remembers what was found out about files as long as they stay the same, so that looking again costs nothing. */
export class KnownFacts {
  readonly #known = new Map<string, { state: string; fact: unknown; isUsed: boolean }>();

  /** The fact `what` about files in a state; found out unless it is known. What `find` throws is not remembered. */
  async of<Fact>(what: string, state: string, find: () => Promise<Fact>): Promise<Fact> {
    const known = this.#known.get(what);
    if (known?.state === state) {
      known.isUsed = true;
      return known.fact as Fact;
    }
    const fact = await find();
    this.#known.set(what, { state, fact, isUsed: true });
    return fact;
  }

  /** Forgets what nobody has asked for since the last call. */
  forgetUnused(): void {
    for (const [what, known] of this.#known) {
      if (!known.isUsed) this.#known.delete(what);
      known.isUsed = false;
    }
  }
}
