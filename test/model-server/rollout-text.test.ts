import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRollout, renderRollout } from '../../model-server/models/rollout/rollout-text.ts';
import type { RolloutPlan } from '../../model-server/models/rollout/status.ts';
import { canaryPlan, canarySection, example, examplePlan } from './rollout-samples.ts';

const problemsOf = (text: string) => {
  const parsed = parseRollout(text);
  return 'problems' in parsed ? parsed.problems : [];
};

describe('rollout.yaml', () => {
  it('is read as a plan', () => {
    expect(parseRollout(example)).toEqual({ plan: examplePlan });
    expect(parseRollout(example + canarySection)).toEqual({ plan: canaryPlan });
  });

  it.each(['', '# nothing\n', '{}'])('may be empty: %j', (text) => {
    expect(parseRollout(text)).toMatchObject({ plan: { aliases: {}, canary: undefined } });
  });

  it.each([
    ['an unknown setting', 'defualt: a', 'rollout.yaml:1: defualt is no setting of a rollout'],
    [
      'a setting of a part',
      'shadow:\n  version: 1\n  percent: 1\n  rate: 2',
      'rollout.yaml:4: shadow.rate is no setting',
    ],
    ['broken YAML', 'aliases: {', /^rollout\.yaml:1: /],
    ['a key twice', 'default: a\ndefault: b\n', /^rollout\.yaml:2: Map keys must be unique/],
    ['a list', '- 1', /^rollout\.yaml:1: .*expected object/],
    [
      'a default that is no alias',
      'default: x\naliases: { a: { 1: 1 } }',
      'rollout.yaml:1: default names "x"',
    ],
    [
      'a negative weight',
      'aliases:\n  a: { 1: 1 }\n  b: { 1: 1, 2: -1 }',
      'rollout.yaml:3: aliases.b.2 must be a weight of 0 or more',
    ],
    ['an infinite weight', 'aliases: { a: { 1: .inf } }', 'rollout.yaml:1: aliases.a.1 must be a weight'],
    [
      'weights of nothing',
      'aliases:\n  a: { 1: 0 }',
      'rollout.yaml:2: aliases.a must give at least one version',
    ],
    ['no weights', 'aliases:\n  a: {}', 'rollout.yaml:2: aliases.a must give at least one version'],
    ['a version 0', 'aliases: { a: { 0: 1 } }', 'rollout.yaml:1: aliases.a.0 must be a version'],
    [
      'a version by name',
      'aliases: { a: { latest: 1 } }',
      'rollout.yaml:1: aliases.a.latest must be a version',
    ],
    [
      'an alias with a slash',
      'aliases: { a/b: { 1: 1 } }',
      'rollout.yaml:1: aliases.a/b must be an alias name',
    ],
    [
      'an alias of another object',
      'aliases: { a: { 1: 1 } }\ndefault: constructor',
      'rollout.yaml:2: default names "constructor"',
    ],
    ['mixed spaces by halves', 'mixed_spaces: yes', 'rollout.yaml:1: mixed_spaces can only be "allowed"'],
    ['a shadow of 101 %', 'shadow: { version: 1, percent: 101 }', /^rollout\.yaml:1: shadow\.percent /],
    [
      'steps that fall',
      canarySection.replace('[ 1, 10, 50, 100 ]', '[50, 10, 100]'),
      /:5: canary\.steps must rise/,
    ],
    [
      'steps that end early',
      canarySection.replace('[ 1, 10, 50, 100 ]', '[1, 50]'),
      /:5: canary\.steps must end with 100/,
    ],
    [
      'a step that is none',
      canarySection.replace('step: 1', 'step: 4'),
      /:6: canary\.step must be the place of one/,
    ],
    ['a canary of itself', canarySection.replace('to: 2', 'to: 1'), /:4: canary\.to must be another version/],
    [
      'a rate above 1',
      canarySection.replace('max_error_rate: 0.01', 'max_error_rate: 5'),
      /:8: canary\.guards\.max_error_rate /,
    ],
    [
      'a canary without alias',
      canarySection,
      'rollout.yaml:2: canary.alias names "stable", which is none of the aliases',
    ],
    [
      'a canary beside a third version',
      `${canarySection}aliases: { stable: { 1: 1, 3: 1 } }`,
      /:3: canary\.from must be the version .* shared by 1, 3/,
    ],
    [
      'a canary from another version',
      `${canarySection}aliases: { stable: { 2: 1 } }`,
      /:3: canary\.from must be the version/,
    ],
    ['a reference to nothing', 'default: *x', /^rollout\.yaml/],
  ])('%s is refused with its line', (_what, text, expected) => {
    const problems = problemsOf(text).join('\n');
    if (typeof expected === 'string') expect(problems).toContain(expected);
    else expect(problems).toMatch(expected);
  });

  it('tells all problems at once', () => {
    expect(problemsOf('x: 1\nshadow: { version: 0, percent: 1 }\ndefault: 7\n')).toHaveLength(3);
  });

  it('may not hold more than 64 aliases, nor references that blow up', () => {
    const aliases = Array.from({ length: 65 }, (_, at) => `  a${at}: { 1: 1 }`).join('\n');
    expect(problemsOf(`aliases:\n${aliases}`)).toEqual([expect.stringContaining('64 aliases at most')]);
    const bomb = Array.from({ length: 9 }, (_, at) => `k${at + 1}: &a${at + 1} [${`*a${at},`.repeat(9)}]`);
    expect(problemsOf(['k0: &a0 [x]', ...bomb].join('\n'))).toEqual([expect.stringContaining('resource')]);
    expect(problemsOf('['.repeat(30_000)).length).toBeGreaterThan(0);
  });
});

describe('writing a plan', () => {
  it.each([
    ['to nothing', ''],
    ['over what is no map', '- 1'],
    ['over broken text', 'aliases: {'],
    ['over text that is no number', 'shadow: { version: !!str 2, percent: 1 }'],
    ['over another plan', example + canarySection],
  ])('%s says the plan', (_what, previous) => {
    for (const plan of [examplePlan, canaryPlan]) {
      expect(parseRollout(renderRollout(plan, previous))).toEqual({ plan });
    }
  });

  it('touches only the lines that change', () => {
    const plan = { ...examplePlan, aliases: { ...examplePlan.aliases, stable: { 1: 50, 2: 50 } } };
    expect(renderRollout(plan, example)).toBe(example.replace('1: 90, 2: 10', '1: 50, 2: 50'));
    expect(renderRollout(examplePlan, example)).toBe(example);
    const stepped = { ...canaryPlan, canary: { ...canaryPlan.canary!, step: 2 } };
    expect(renderRollout(stepped, example + canarySection)).toBe(
      (example + canarySection).replace('step: 1', 'step: 2'),
    );
    expect(renderRollout(examplePlan, example + canarySection)).toBe(example);
  });

  it('gives up comments rather than the plan where references are in the way', () => {
    const linked = 'aliases:\n  a: &a { 1: 1 }\n  b: *a\n';
    const plan: RolloutPlan = {
      ...examplePlan,
      defaultAlias: undefined,
      shadow: undefined,
      aliases: { a: { 1: 5 }, b: { 1: 1 } },
    };
    expect(parseRollout(renderRollout(plan, linked))).toEqual({ plan });
  });

  it('writes a new file that people can read', () => {
    expect(renderRollout(canaryPlan, '')).toBe(
      [
        'default: stable',
        'aliases:',
        '  stable: { 1: 90, 2: 10 }',
        '  next: { 2: 100 }',
        'mixed_spaces: allowed',
        'same_space: [ 1, 2 ]',
        'shadow: { version: 2, percent: 10 }',
        'canary: { alias: stable, from: 1, to: 2, steps: [ 1, 10, 50, 100 ], step: 1, min_requests: 200, guards: { max_error_rate: 0.01, max_p99_ratio: 1.5, min_cosine: 0.98, min_kendall_tau: 0.9 } }',
        '',
      ].join('\n'),
    );
  });

  it('keeps every plan through writing and reading', () => {
    const version = fc.integer({ min: 1, max: 99 });
    const weights = fc
      .uniqueArray(version, { minLength: 1, maxLength: 4 })
      .map((versions) => Object.fromEntries(versions.map((one, at) => [one, 0.5 + at])));
    const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,8}$/);
    const plans = fc.record({
      defaultAlias: fc.constant(undefined),
      aliases: fc.dictionary(name, weights, { maxKeys: 4, noNullPrototype: true }),
      mixedSpaces: fc.boolean(),
      sameSpace: fc.array(version, { maxLength: 3 }),
      shadow: fc.option(fc.record({ version, percent: fc.integer({ min: 0, max: 100 }) }), {
        nil: undefined,
      }),
      canary: fc.constant(undefined),
    });
    fc.assert(
      fc.property(plans, plans, (plan, before) => {
        expect(parseRollout(renderRollout(plan, renderRollout(before, '')))).toEqual({ plan });
      }),
    );
  });
});
