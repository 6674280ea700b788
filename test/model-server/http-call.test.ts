import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CallContext } from '../../model-server/api/call-context.ts';
import { HttpCall } from '../../model-server/api/http/http-call.ts';

const NOW_MS = 1_700_000_000_000;
beforeEach(() => {
  vi.useFakeTimers({ now: NOW_MS, toFake: ['Date', 'setTimeout', 'clearTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const open = (headers: Record<string, string> = {}, gone = false) => {
  const leavers: (() => void)[] = [];
  const call = new HttpCall({ headers, gone, onGone: (listener) => leavers.push(listener) }, NOW_MS);
  const leave = () => {
    for (const tell of leavers) tell();
  };
  return { call, context: new CallContext(call), leave };
};
const reasonOf = ({ reason }: AbortSignal) => reason?.reason;

describe('the deadline of a call over HTTP', () => {
  it('is none without a header', () => {
    const { context } = open();
    expect(context.deadlineMs).toBeUndefined();
    expect(context.signal.aborted).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('passes when the time is up, and not before', () => {
    const { context } = open({ 'connect-timeout-ms': '250' });
    expect(context.deadlineMs).toBe(NOW_MS + 250);
    const { signal } = context;
    vi.advanceTimersByTime(249);
    expect(signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(reasonOf(signal)).toBe('DEADLINE_EXCEEDED');
  });

  it('may have passed before anybody asks', () => {
    const { context } = open({ 'connect-timeout-ms': '0' });
    expect(reasonOf(context.signal)).toBe('DEADLINE_EXCEEDED');
  });

  it('may lie further away than a timer reaches', () => {
    const { context } = open({ 'connect-timeout-ms': '9999999999' });
    const { signal } = context;
    vi.advanceTimersByTime(9_999_999_998);
    expect(signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(reasonOf(signal)).toBe('DEADLINE_EXCEEDED');
  });

  it('is waited for again when a timer goes off before the clock says so', () => {
    const { context } = open({ 'connect-timeout-ms': '250' });
    const { signal } = context;
    vi.advanceTimersByTime(240);
    vi.setSystemTime(NOW_MS + 200);
    vi.advanceTimersByTime(10);
    expect(signal.aborted).toBe(false);
    vi.advanceTimersByTime(40);
    expect(reasonOf(signal)).toBe('DEADLINE_EXCEEDED');
  });

  it('leaves no timer when the answer is there', () => {
    const { call, context } = open({ 'connect-timeout-ms': '250' });
    const { signal } = context;
    expect(vi.getTimerCount()).toBe(1);
    call[Symbol.dispose]();
    expect(vi.getTimerCount()).toBe(0);
    expect(signal.aborted).toBe(false);
  });

  it.each(['', ' 5', '-1', '1.5', '1e3', '12345678901', 'soon'])('can not be %j', (header) => {
    expect(() => open({ 'connect-timeout-ms': header })).toThrow(/connect-timeout-ms is .* whole number/);
  });
});

describe('the client of a call over HTTP', () => {
  it('ends the call by leaving', () => {
    const { context, leave } = open({ 'connect-timeout-ms': '250' });
    const { signal } = context;
    leave();
    expect(reasonOf(signal)).toBe('CANCELLED');
  });

  it('may have left before anybody asks', () => {
    expect(reasonOf(open({}, true).context.signal)).toBe('CANCELLED');
  });
});
