import { describe, expect, it } from 'vitest';
import { type Caller, isLoopback, refuseStranger } from '../../model-server/api/admin-guard.ts';

const caller = (override: Partial<Caller> = {}): Caller => ({
  address: '127.0.0.1',
  authorization: undefined,
  forwarded: false,
  ...override,
});
const open = { adminKey: undefined, host: '127.0.0.1' };
const locked = { adminKey: 'a secret', host: '127.0.0.1' };
const outcome = (rule: typeof open | typeof locked, of: Partial<Caller>) => {
  try {
    refuseStranger(caller(of), rule);
    return 'in';
  } catch (error) {
    return (error as { reason: string }).reason;
  }
};

describe('without a key', () => {
  it.each([
    ['127.0.0.1', 'in'],
    ['127.8.9.10', 'in'],
    ['::1', 'in'],
    ['::ffff:127.0.0.1', 'in'],
    ['10.0.0.7', 'FORBIDDEN'],
    ['128.0.0.1', 'FORBIDDEN'],
    ['::ffff:10.0.0.7', 'FORBIDDEN'],
    ['fe80::1', 'FORBIDDEN'],
    ['unknown', 'FORBIDDEN'],
    ['', 'FORBIDDEN'],
    ['127.0.0.1.example.org', 'FORBIDDEN'],
  ])('a caller from %j: %s', (address, expected) => expect(outcome(open, { address })).toBe(expected));

  it('a key that is set to nothing is none', () =>
    expect(outcome({ ...locked, adminKey: '' }, { address: '127.0.0.1' })).toBe('in'));

  it('a caller behind a proxy on this machine may be anybody', () =>
    expect(outcome(open, { forwarded: true })).toBe('FORBIDDEN'));

  it.each([
    ['curl', undefined, '127.0.0.1:8000', 'in'],
    ['curl by name', undefined, 'localhost:8000', 'in'],
    ['curl over IPv6', undefined, '[::1]:8000', 'in'],
    ['a page of this machine', 'http://localhost:3000', 'localhost:8000', 'in'],
    ['a page from elsewhere', 'https://evil.example', '127.0.0.1:8000', 'FORBIDDEN'],
    [
      'a page whose name was made to point here',
      'http://evil.example:8000',
      'evil.example:8000',
      'FORBIDDEN',
    ],
    ['the same without an Origin', undefined, 'evil.example:8000', 'FORBIDDEN'],
    ['a name that only begins like ours', undefined, '127.0.0.1.evil.example', 'FORBIDDEN'],
    ['an opaque page', 'null', '127.0.0.1:8000', 'FORBIDDEN'],
    ['no Host', undefined, undefined, 'FORBIDDEN'],
    ['user information in Host', undefined, 'localhost@evil.example', 'FORBIDDEN'],
  ])('%s: origin %s, host %s: %s', (_, origin, host, expected) =>
    expect(outcome(open, { web: { origin, host } })).toBe(expected),
  );

  it('the name that it listens on is its own', () => {
    const web = { origin: undefined, host: 'models.lan:8000' };
    expect(outcome({ ...open, host: 'models.lan' }, { web })).toBe('in');
  });
});

describe('with a key', () => {
  it.each([
    [undefined, 'UNAUTHENTICATED'],
    ['', 'UNAUTHENTICATED'],
    ['a secret', 'UNAUTHENTICATED'],
    ['Basic a secret', 'UNAUTHENTICATED'],
    ['Bearer another', 'UNAUTHENTICATED'],
    ['Bearer a secre', 'UNAUTHENTICATED'],
    ['Bearer a secret2', 'UNAUTHENTICATED'],
    ['Bearer a secret', 'in'],
    ['bearer a secret', 'in'],
  ])('authorization %j: %s, from this machine and from elsewhere', (authorization, expected) => {
    expect(outcome(locked, { authorization })).toBe(expected);
    expect(outcome(locked, { authorization, address: '10.0.0.7', forwarded: true })).toBe(expected);
  });

  it('says what to do, and never the key', () => {
    const refused = () => refuseStranger(caller({ authorization: 'Bearer my own guess' }), locked);
    expect(refused).toThrow(/NEREID_ADMIN_KEY/);
    expect(refused).not.toThrow(/a secret|my own guess/);
    expect(() => refuseStranger(caller({ address: '10.0.0.7' }), open)).toThrow(
      /10\.0\.0\.7.*NEREID_ADMIN_KEY/,
    );
  });
});

it('only addresses can be loopback', () => {
  expect(isLoopback('localhost')).toBe(false);
  expect(isLoopback('0:0:0:0:0:0:0:1')).toBe(true);
});
