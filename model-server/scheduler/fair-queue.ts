/** What fair queueing has to know of an item. */
export interface Shared {
  readonly tenant: string;
  /** What it counts for, in tokens; more than 0. */
  readonly weight: number;
}

interface Tenant<T> {
  // A Set iterates in order of insertion and deletes in constant time: a queue with cancel.
  items: Set<T>;
  waitingWeight: number;
  /** Tokens it has been given since it came, on the scale of `#nowTokens`: who has least is next. */
  givenTokens: number;
}

/** How far one tenant may run ahead of another that waits, in tokens: what it is given as company in others' batches. */
const MOST_AHEAD_TOKENS = 4096;
/** Every so many turns the longest waiting item is next, whoever has been given least; so none waits for ever. */
const TURNS_BEFORE_OLDEST = 8;
/** Tenants without waiting items that are remembered, so that leaving the queue for a moment gives nobody a fresh start. */
const MOST_IDLE_TENANTS = 1024;

/**
 * Items of one priority, shared fairly among tenants by tokens: start-time fair queueing (Goyal, Vin and Cheng 1996). The
 * tenant that has been given least is next; one that comes back starts where the others are, so that idling saves nothing
 * up. Within a tenant the order is that of arrival.
 */
export class FairQueue<T extends Shared> {
  readonly #tenants = new Map<string, Tenant<T>>();
  /** All of them in order of arrival. */
  readonly #items = new Set<T>();
  #waitingWeight = 0;
  #active = 0;
  #nowTokens = 0;
  #turns = 0;

  get size(): number {
    return this.#items.size;
  }

  /** Weight of all that wait. */
  get waitingWeight(): number {
    return this.#waitingWeight;
  }

  /** In order of arrival. */
  get items(): ReadonlySet<T> {
    return this.#items;
  }

  push(item: T): void {
    const tenant = this.#tenantOf(item.tenant);
    if (tenant.items.size === 0) {
      this.#active++;
      tenant.givenTokens = Math.max(tenant.givenTokens, this.#nowTokens);
    }
    tenant.items.add(item);
    tenant.waitingWeight += item.weight;
    this.#waitingWeight += item.weight;
    this.#items.add(item);
  }

  /** @returns whether the item was waiting */
  remove(item: T): boolean {
    if (!this.#items.delete(item)) return false;
    const tenant = this.#tenants.get(item.tenant)!;
    tenant.items.delete(item);
    tenant.waitingWeight -= item.weight;
    this.#waitingWeight -= item.weight;
    if (tenant.items.size === 0) {
      this.#active--;
      if (this.#tenants.size - this.#active > MOST_IDLE_TENANTS) this.#forgetIdle();
    }
    return true;
  }

  /**
   * The next item first, then at most `count` in all that may share its batch, oldest first within a tenant. They stay in
   * the queue; each call is a turn.
   */
  window(count: number): T[] {
    if (this.#items.size === 0) return [];
    this.#turns++;
    const least = this.#leastGiven();
    const isOldestsTurn = this.#turns % TURNS_BEFORE_OLDEST === 0;
    const next = first(isOldestsTurn ? this.#items : least.items);
    const window = [next];
    const limit = least.givenTokens + MOST_AHEAD_TOKENS;
    const mayGo = [...this.#tenants.values()].filter(
      ({ items, givenTokens }) => items.size > 0 && givenTokens <= limit,
    );
    mayGo.sort((a, b) => a.givenTokens - b.givenTokens);
    // One of each in turn: where a batch has a choice between equals, it takes those who stand in front.
    const lines = mayGo.map(({ items }) => items.values());
    while (window.length < count && lines.length > 0) {
      for (let at = 0; at < lines.length && window.length < count; at++) {
        const { value, done } = lines[at]!.next();
        if (done) lines.splice(at--, 1);
        else if (value !== next) window.push(value);
      }
    }
    return window;
  }

  /** Takes items out that are given their turn now, and counts them as given to their tenants. */
  give(items: readonly T[]): void {
    if (this.#active > 0) this.#nowTokens = Math.max(this.#nowTokens, this.#leastGiven().givenTokens);
    for (const item of items) {
      const tenant = this.#tenants.get(item.tenant);
      if (tenant !== undefined && this.remove(item)) tenant.givenTokens += item.weight;
    }
  }

  /** Tokens that will have been given to all before a newcomer of this tenant with so many tokens is done. */
  aheadTokens(tenant: string, tokens: number): number {
    const known = this.#tenants.get(tenant);
    const own = (known?.waitingWeight ?? 0) + tokens;
    const others = this.#active - (known !== undefined && known.items.size > 0 ? 1 : 0);
    // The others get as much as this one meanwhile, but no more than they wait for.
    return Math.min(this.#waitingWeight + tokens, own * (others + 1));
  }

  #tenantOf(name: string): Tenant<T> {
    const known = this.#tenants.get(name);
    if (known !== undefined) return known;
    const tenant: Tenant<T> = { items: new Set(), waitingWeight: 0, givenTokens: this.#nowTokens };
    this.#tenants.set(name, tenant);
    return tenant;
  }

  #leastGiven(): Tenant<T> {
    let least: Tenant<T> | undefined;
    for (const tenant of this.#tenants.values()) {
      if (tenant.items.size === 0) continue;
      if (least === undefined || tenant.givenTokens < least.givenTokens) least = tenant;
    }
    return least!;
  }

  #forgetIdle(): void {
    for (const [name, { items }] of this.#tenants) if (items.size === 0) this.#tenants.delete(name);
  }
}

function first<T>(items: ReadonlySet<T>): T {
  return items.values().next().value!;
}
