import { createHash, timingSafeEqual } from 'node:crypto';
import { BlockList, isIP } from 'node:net';
import { ServingError } from '../errors.ts';

/** Who may administrate. */
export interface AdminRule {
  /** Callers must bring it; without one only callers on this machine are let in. */
  adminKey: string | undefined;
  /** The name or address that the server listens on, which browsers on this machine may rightly use for it. */
  host: string;
}

/** What is known of a caller. */
export interface Caller {
  /** IP address without the port. */
  address: string;
  /** The header or metadata entry `authorization`. */
  authorization: string | undefined;
  /** Whether a proxy has passed the call on, so that the address is the proxy's. */
  forwarded: boolean;
  /** Of HTTP requests only: the headers that tell whether a web page sent it. */
  web?: { origin: string | undefined; host: string | undefined } | undefined;
}

/** Headers that proxies add to what they pass on. */
export const PROXY_HEADERS = [
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-real-ip',
  'via',
] as const;

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether an IP address, IPv4-mapped ones included, is this machine's own. */
export function isLoopback(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && loopback.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/**
 * Lets callers pass who may administrate.
 * @throws ServingError UNAUTHENTICATED, FORBIDDEN
 */
export function refuseStranger(caller: Caller, { adminKey, host }: AdminRule): void {
  if (adminKey !== undefined && adminKey !== '') refuseWrongKey(caller.authorization, adminKey);
  else refuseRemote(caller, host);
}

function refuseWrongKey(authorization: string | undefined, adminKey: string): void {
  const given = /^Bearer +(\S.*)$/i.exec(authorization ?? '')?.[1];
  const how =
    'send it as "authorization: Bearer <key>"; the nereid commands take it from --admin-key or NEREID_ADMIN_KEY.';
  if (given === undefined)
    throw new ServingError(
      'UNAUTHENTICATED',
      `admin calls need the admin key that the server was started with: ${how}`,
    );
  // Hashes have one length, and comparing them takes one time, whatever the key.
  if (!timingSafeEqual(sha256(given), sha256(adminKey)))
    throw new ServingError('UNAUTHENTICATED', `the admin key is not the one of this server: ${how}`);
}

function refuseRemote({ address, forwarded, web }: Caller, host: string): void {
  const key =
    'Start the server with an admin key (NEREID_ADMIN_KEY) and send it as "authorization: Bearer <key>".';
  if (!isLoopback(address))
    throw new ServingError(
      'FORBIDDEN',
      `no admin key is set, so only callers at a loopback address (127.0.0.1, ::1) may administrate, not ${address}. ${key}`,
    );
  if (forwarded)
    throw new ServingError(
      'FORBIDDEN',
      `no admin key is set, and a proxy has passed this call on, so it may come from anywhere. ${key}`,
    );
  if (web === undefined) return;
  // A web page that is open on this machine must not administrate: neither by its own name nor by one that it has
  // let point here (DNS rebinding).
  if (web.origin !== undefined && !isOwnName(hostOfOrigin(web.origin), host))
    throw new ServingError('FORBIDDEN', `no admin key is set, and this call comes from a web page. ${key}`);
  if (!isOwnName(hostOfAuthority(web.host), host))
    throw new ServingError(
      'FORBIDDEN',
      `no admin key is set, and the call's Host is neither localhost nor ${host}. ${key}`,
    );
}

function isOwnName(name: string | undefined, host: string): boolean {
  if (name === undefined) return false;
  return name === 'localhost' || isLoopback(name) || name === host.toLowerCase();
}

function hostOfOrigin(origin: string): string | undefined {
  return URL.canParse(origin) ? bare(new URL(origin).hostname) : undefined;
}

function hostOfAuthority(authority: string | undefined): string | undefined {
  const url = `http://${authority}`;
  return authority !== undefined && /^[\w.:[\]-]+$/.test(authority) && URL.canParse(url)
    ? bare(new URL(url).hostname)
    : undefined;
}

/** IPv6 addresses stand in brackets in URLs. */
function bare(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
