import { expect, onTestFinished, test } from 'vitest';
import type { VersionReport } from '../../model-server/models/reports.ts';
import { type FakeServerOptions, fakeAdmin, report, rollout, startApi } from '../model-server/fake-models.ts';
import { nereid } from './spawned.ts';

/** A model server with a made-up rollout, and `nereid rollout` asking it. */
async function setUp(options: FakeServerOptions = {}) {
  const admin = fakeAdmin();
  const api = await startApi({ admin, ...options });
  onTestFinished(api.close);
  const run = (...args: string[]) =>
    nereid(['rollout', ...args, '--server-address', `127.0.0.1:${api.grpcPort}`]);
  return { asked: admin.asked, run };
}

test('status shows aliases, canary with guards, traffic, mirrored requests and decisions', async () => {
  const { run } = await setUp();
  const { code, out } = await run('status', 'mini');
  expect(code).toBe(0);
  expect(out.split('\n')).toEqual([
    'mini',
    '',
    'ALIAS             VERSIONS',
    'stable (default)  1: 90 %, 2: 10 %',
    'versions 1, 2 are claimed to share one space',
    'shadow: 10 % are mirrored to version 2',
    '',
    'canary of stable: 1 -> 2, at 10 % (step 2 of 1, 10, 50, 100)',
    '57 of 200 requests answered at this step; waits for 143 more answers of version 2',
    'GUARD         LIMIT  NOW',
    'maxErrorRate  0.01   0    ok',
    '',
    'VERSION  REQUESTS  ERRORS  P50     P99',
    '1        900       1       3.2 ms  9.5 ms',
    '',
    'MIRRORED     REQUESTS  ERRORS  DROPPED  COSINE            KENDALL TAU  TOP 10  LATENCY RATIO',
    '2 against 1  40        0       3        0.99 (0.9; 0.91)  -            -       0.995',
    'Agreement as mean (least; 1 % are below), latency ratio as median.',
    '',
    'WHEN (UTC)           WHAT     BY       WHY',
    '2023-11-14T22:13:20  started  command  from 1 to 2',
  ]);
});

test('status of a model without a rollout, and of one whose file is bad', async () => {
  const plan = {
    defaultAlias: undefined,
    aliases: {},
    mixedSpaces: false,
    sameSpace: [],
    shadow: undefined,
    canary: undefined,
  };
  const none = rollout({ plan, traffic: [], shadows: [], canary: undefined, decisions: [] });
  const empty = await setUp({ admin: fakeAdmin({ rolloutStatus: () => none }) });
  expect((await empty.run('status', 'mini')).out).toBe(
    'mini\n\nno aliases: the newest ready version answers',
  );
  const bad = await setUp({
    admin: fakeAdmin({ rolloutStatus: () => ({ ...none, problem: 'line 3: typo' }) }),
  });
  expect((await bad.run('status', 'mini')).out).toContain('rollout.yaml is not in force: line 3: typo');
});

test('set sends weights, and whether spaces may mix only when it is said', async () => {
  const { run, asked } = await setUp();
  expect((await run('set', 'mini', 'stable', '1=90', '2=10', '--default')).code).toBe(0);
  await run('set', 'mini', 'next', '2=1', '--mixed-spaces');
  await run('set', 'mini', 'next', '2=1', '--no-mixed-spaces');
  const next = { alias: 'next', weights: { 2: 1 }, makeDefault: false };
  expect(asked).toEqual([
    [
      'setTraffic',
      'mini',
      { alias: 'stable', weights: { 1: 90, 2: 10 }, makeDefault: true, mixedSpaces: undefined },
    ],
    ['setTraffic', 'mini', { ...next, mixedSpaces: true }],
    ['setTraffic', 'mini', { ...next, mixedSpaces: false }],
  ]);
});

test('shadow, on and off', async () => {
  const { run, asked } = await setUp();
  await run('shadow', 'mini', '2', '--percent', '12.5');
  await run('shadow', 'mini', '2');
  await run('shadow', 'mini', '--off');
  expect(asked).toEqual([
    ['setShadow', 'mini', { version: 2, percent: 12.5 }],
    ['setShadow', 'mini', { version: 2, percent: 10 }],
    ['setShadow', 'mini', undefined],
  ]);
  for (const args of [
    ['shadow', 'mini'],
    ['shadow', 'mini', '2', '--off'],
  ])
    expect(await run(...args)).toMatchObject({ code: 2, err: expect.stringMatching(/--off/) });
});

test('canary sends its plan; the server fills in what is left open', async () => {
  const { run, asked } = await setUp();
  await run('canary', 'mini', '--to', '2');
  const flags = ['--from', '3', '--alias', 'next', '--steps', '5,100', '--min-requests', '50'];
  const guards = ['--max-error-rate', '0', '--max-p99-ratio', '1.5', '--min-cosine', '0.98'];
  await run('canary', 'mini', '--to', '2', ...flags, ...guards);
  const plans = asked.filter(([what]) => what === 'startCanary').map(([, , plan]) => plan);
  expect(plans).toEqual([
    { alias: '', from: 1, to: 2, steps: [1, 10, 50, 100], minRequests: 200, guards: {} },
    {
      alias: 'next',
      from: 3,
      to: 2,
      steps: [5, 100],
      minRequests: 50,
      guards: { maxErrorRate: 0, maxP99Ratio: 1.5, minCosine: 0.98 },
    },
  ]);
});

test('without aliases a canary starts from the newest other version that is ready', async () => {
  const plan = { ...rollout().plan, defaultAlias: undefined, aliases: {}, canary: undefined };
  const versions = [1, 3, 4].map((version) => report({ version, state: version === 4 ? 'failed' : 'ready' }));
  const list = () => [...versions, report({ name: 'other', version: 9 })];
  const admin = fakeAdmin({ list, rolloutStatus: () => rollout({ plan }) });
  const { run } = await setUp({ admin });
  await run('canary', 'mini', '--to', '5');
  expect(admin.asked[0]).toMatchObject(['startCanary', 'mini', { from: 3, to: 5 }]);
  const alone = fakeAdmin({ list: () => [report()], rolloutStatus: () => rollout({ plan }) });
  const refused = await (await setUp({ admin: alone })).run('canary', 'mini', '--to', '1');
  expect(refused).toMatchObject({
    code: 1,
    err: expect.stringMatching(/which version the canary starts from/),
  });
});

test('promote and rollback, as JSON too', async () => {
  const { run, asked } = await setUp();
  const { out } = await run('promote', 'mini', '--json');
  expect(JSON.parse(out)).toMatchObject({ status: { model: 'mini', plan: { defaultAlias: 'stable' } } });
  await run('rollback', 'mini');
  expect(asked).toEqual([
    ['promote', 'mini'],
    ['rollBack', 'mini'],
  ]);
});

test.each([
  [['set', 'm', 'stable', '1:90'], /version and its weight, such as 1=90/],
  [['set', 'm', 'stable', 'x=90'], /must be a version/],
  [['canary', 'm'], /required option '--to <version>'/],
  [['canary', 'm', '--to', '2', '--steps', '1,x'], /It must be a number/],
  [['bogus'], /unknown command 'bogus'/],
])('wrong usage ends with 2: %j', async (args, message) => {
  const { code, err } = await nereid(['rollout', ...args]);
  expect(code).toBe(2);
  expect(err).toMatch(message);
});

test('a canary that must go back but can not shows that it gets nothing meanwhile', async () => {
  const why = 'goes back as soon as rollout.yaml can be written: 9 of 20 failed';
  const status = rollout({ canary: { percent: 0, requests: 20, why, readings: [] } });
  const { run } = await setUp({ admin: fakeAdmin({ rolloutStatus: () => status }) });
  const { out } = await run('status', 'mini');
  expect(out).toContain('1 -> 2, at 0 % (step 2 of 1, 10, 50, 100)');
  expect(out).toContain(why);
});

test('a guard that could never be judged is refused, an unknown version holds nothing back', async () => {
  const plan = { ...rollout().plan, canary: undefined };
  const setUpWith = (...lists: VersionReport['tasks'][]) => {
    const list = () => lists.map((tasks, at) => report({ version: at + 1, tasks }));
    return setUp({ admin: fakeAdmin({ list, rolloutStatus: () => rollout({ plan }) }) });
  };
  const ranker = await setUpWith(['rerank', 'infer'], ['rerank', 'infer']);
  expect(await ranker.run('canary', 'mini', '--to', '2', '--min-cosine', '0.9')).toMatchObject({
    code: 1,
    err: expect.stringMatching(/guard min_cosine can't be judged: model mini version 1 can't embed/),
  });
  expect((await ranker.run('canary', 'mini', '--to', '2', '--min-kendall-tau', '0.9')).code).toBe(0);
  const raw = await setUpWith(['infer'], ['infer']);
  expect((await raw.run('canary', 'mini', '--to', '2', '--min-kendall-tau', '0.9')).code).toBe(1);
  expect((await raw.run('canary', 'mini', '--to', '2', '--max-error-rate', '0.1')).code).toBe(0);
  const unknown = await setUpWith(['embed', 'infer'], []);
  expect((await unknown.run('canary', 'mini', '--to', '2', '--min-cosine', '0.9')).code).toBe(0);
});
