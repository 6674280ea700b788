import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ServingError } from '../../model-server/errors.ts';
import { MemoryBudget, type Reservation } from '../../model-server/models/memory/budget.ts';
import { FakeResident } from './memory-resident.ts';

const LIMIT = 100;
const BASE = 10;

type Step =
  | { kind: 'reserve'; bytes: number; pinned: boolean; keepAliveMs: number; gated: boolean }
  | { kind: 'settle'; pick: number; percent: number }
  | { kind: 'lease' | 'unlease' | 'release' | 'finishEviction' | 'pin'; pick: number }
  | { kind: 'shrink'; bytes: number }
  | { kind: 'expire' }
  | { kind: 'pass'; ms: number }
  | { kind: 'turn' };

const pick = fc.nat({ max: 50 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('reserve' as const),
      bytes: fc.integer({ min: 1, max: 110 }),
      pinned: fc.nat({ max: 3 }).map((n) => n === 0),
      keepAliveMs: fc.constantFrom(-1, 0, 5, 50),
      gated: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('settle' as const),
      pick,
      percent: fc.integer({ min: 50, max: 130 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'lease' as const,
        'unlease' as const,
        'release' as const,
        'finishEviction' as const,
        'pin' as const,
      ),
      pick,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('shrink' as const), bytes: fc.nat({ max: LIMIT }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('expire' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat({ max: 40 }) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('turn' as const) }) },
);

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** One resident with what its owner knows of it. */
interface Holder {
  resident: FakeResident;
  bytes: number;
  outcome: 'waiting' | 'held' | 'refused';
  reservation: Reservation | undefined;
  released: boolean;
}

class World {
  readonly holders: Holder[] = [];
  readonly background: Promise<unknown>[] = [];
  nowMs = 0;
  /** Whether a measurement above its prediction, the one excuse for more than the limit, has been told. */
  excused = false;
  readonly budget = new MemoryBudget({
    device: 'cpu',
    limitBytes: LIMIT,
    baseBytes: BASE,
    nowMs: () => this.nowMs,
  });

  #pick(index: number, fits: (holder: Holder) => boolean): Holder | undefined {
    const fitting = this.holders.filter(fits);
    return fitting[index % Math.max(1, fitting.length)];
  }

  do(what: Step): void {
    const isUsable = ({ outcome, released, resident }: Holder) =>
      outcome === 'held' && !released && resident.evictedWhy === undefined;
    switch (what.kind) {
      case 'reserve':
        this.#reserve(what);
        return;
      case 'settle': {
        const holder = this.#pick(what.pick, isUsable);
        if (holder === undefined) return;
        const measured = Math.ceil((holder.bytes * what.percent) / 100);
        if (measured > holder.bytes) this.excused = true;
        holder.reservation!.settle(measured);
        return;
      }
      case 'lease': {
        const holder = this.#pick(what.pick, isUsable);
        if (holder !== undefined) holder.resident.leases++;
        return;
      }
      case 'unlease': {
        const holder = this.#pick(what.pick, ({ resident }) => resident.leases > 0);
        if (holder === undefined) return;
        holder.resident.leases--;
        holder.resident.lastUsedMs = this.nowMs;
        return;
      }
      case 'pin': {
        const holder = this.#pick(what.pick, isUsable);
        if (holder !== undefined) holder.resident.pinned = !holder.resident.pinned;
        return;
      }
      case 'release': {
        const holder = this.#pick(what.pick, isUsable);
        if (holder === undefined) return;
        holder.released = true;
        holder.reservation!.release();
        return;
      }
      case 'finishEviction':
        this.#pick(what.pick, ({ resident }) => resident.evictedWhy !== undefined)?.resident.finishEviction();
        return;
      case 'shrink':
        this.background.push(this.budget.shrinkTo(what.bytes, 'pressure'));
        return;
      case 'expire':
        this.background.push(this.budget.evictExpired());
        return;
      case 'pass':
        this.nowMs += what.ms;
        return;
      case 'turn':
        return;
    }
  }

  #reserve({ bytes, pinned, keepAliveMs, gated }: Extract<Step, { kind: 'reserve' }>): void {
    const resident = new FakeResident(`m${this.holders.length}`, {
      lastUsedMs: this.nowMs,
      pinned,
      keepAliveMs,
      gated,
    });
    const holder: Holder = { resident, bytes, outcome: 'waiting', reservation: undefined, released: false };
    this.holders.push(holder);
    const entered = (reservation: Reservation) => {
      holder.outcome = 'held';
      holder.reservation = reservation;
    };
    const refused = (error: unknown) => {
      expect(error).toBeInstanceOf(ServingError);
      expect(error).toMatchObject({ reason: 'MEMORY_BUDGET_EXCEEDED' });
      holder.outcome = 'refused';
    };
    this.background.push(this.budget.reserve(resident, bytes).then(entered, refused));
  }

  check(): void {
    if (!this.excused) expect(this.budget.usedBytes).toBeLessThanOrEqual(LIMIT);
    for (const { resident } of this.holders) {
      if (resident.evictedWhile !== undefined)
        expect(resident.evictedWhile).toEqual({ leases: 0, pinned: false });
    }
  }

  /** Lets every eviction end; then every reservation must have ended, too. */
  async finish(): Promise<void> {
    for (let rounds = 0; this.holders.some(({ outcome }) => outcome === 'waiting'); rounds++) {
      for (const { resident } of this.holders) resident.finishEviction();
      await turn();
      expect(rounds, 'a reservation never ends').toBeLessThan(this.holders.length + 2);
    }
    for (const { resident } of this.holders) resident.finishEviction();
    await Promise.all(this.background);
    const expected = this.holders
      .filter(
        ({ outcome, released, resident }) =>
          outcome === 'held' && !released && resident.evictedWhy === undefined,
      )
      .map(({ resident }) => resident.owner);
    expect(this.budget.rows().map(({ owner }) => owner)).toEqual(expected);
  }
}

describe('a memory budget in any order of events', () => {
  it('keeps the limit, leaves what is in use or pinned alone, and ends every reservation', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const world = new World();
        for (const one of steps) {
          world.do(one);
          if (one.kind === 'turn') await turn();
          world.check();
        }
        await world.finish();
        world.check();
      }),
      { numRuns: 400 },
    );
  });
});
