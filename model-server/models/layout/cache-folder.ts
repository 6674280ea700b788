import { isAbsolute, join } from 'node:path';

/**
 * Where what was measured on this machine is kept unless a setting says otherwise, by the rules of freedesktop.org: a relative
 * XDG_CACHE_HOME counts for nothing.
 * @param home the user's home folder; it throws where there is none, as for a user that is a bare number in a container
 * @returns undefined where there is no such place
 */
export function cacheFolder(xdgCacheHome: string | undefined, home: () => string): string | undefined {
  if (xdgCacheHome !== undefined && isAbsolute(xdgCacheHome)) return join(xdgCacheHome, 'nereid');
  try {
    return join(home(), '.cache', 'nereid');
  } catch {
    return undefined;
  }
}
