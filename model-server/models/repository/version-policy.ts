/** Which versions of a model are served, in the words of config.pbtxt. */
export type VersionPolicy =
  | { kind: 'latest'; count: number }
  | { kind: 'all' }
  | { kind: 'specific'; versions: readonly number[] };

/** What holds for a model whose config names no policy. */
export const DEFAULT_POLICY: VersionPolicy = { kind: 'latest', count: 1 };

/** The versions of `versions` that a policy serves, rising. */
export function servedVersions(policy: VersionPolicy, versions: readonly number[]): number[] {
  const rising = [...new Set(versions)].sort((a, b) => a - b);
  if (policy.kind === 'latest') return rising.slice(-policy.count);
  if (policy.kind === 'all') return rising;
  return rising.filter((version) => policy.versions.includes(version));
}

/** A policy as one reads it in config.pbtxt. */
export function policyText(policy: VersionPolicy): string {
  if (policy.kind === 'latest') return `latest ${policy.count}`;
  return policy.kind === 'all' ? 'all' : `specific ${policy.versions.join(', ')}`;
}
