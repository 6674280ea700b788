import { request as httpRequest } from 'node:http';
import { afterEach, expect, it } from 'vitest';
import { type FakeServerOptions, fakeAdmin, postAdmin, startApi } from './fake-models.ts';

let api: Awaited<ReturnType<typeof startApi>> | undefined;
afterEach(async () => {
  await api?.close();
  api = undefined;
});
const start = async (options: FakeServerOptions = {}) => {
  api = await startApi(options);
  return api;
};
const post = (method: string, body: unknown, headers: Record<string, string> = {}) =>
  postAdmin(api!.httpPort, method, body, headers);

it('with a key: nobody without it, and the body is not even read', async () => {
  const admin = fakeAdmin();
  const { logged } = await start({ admin, adminKey: 'open sesame' });
  const refused = await post('ShowModel', 'no json at all');
  expect(refused).toMatchObject({
    status: 401,
    body: { code: 'unauthenticated', reason: 'UNAUTHENTICATED' },
  });
  expect(refused.headers.get('www-authenticate')).toMatch(/^Bearer/);
  expect((await post('ShowModel', {}, { authorization: 'Bearer wrong' })).status).toBe(401);
  expect(admin.asked).toEqual([]);
  const passed = await post('ShowModel', { model: 'mini' }, { authorization: 'Bearer open sesame' });
  expect(passed.status).toBe(200);
  const calls = logged.filter(({ message }) => message === 'admin call').map(({ fields }) => fields);
  expect(calls).toEqual([
    { method: 'ShowModel', peer: '127.0.0.1', model: '', outcome: 'UNAUTHENTICATED' },
    { method: 'ShowModel', peer: '127.0.0.1', model: '', outcome: 'UNAUTHENTICATED' },
    { method: 'ShowModel', peer: '127.0.0.1', model: 'mini', outcome: 'OK' },
  ]);
  expect(JSON.stringify(logged)).not.toMatch(/sesame|wrong/);
});

it('without a key: no web page from elsewhere, no foreign Host, no proxy', async () => {
  await start();
  expect((await post('ListModels', {}, { origin: 'https://evil.example' })).status).toBe(403);
  for (const name of ['x-forwarded-for', 'x-real-ip', 'via', 'forwarded', 'x-forwarded-host'])
    expect((await post('ListModels', {}, { [name]: '10.0.0.7' })).status).toBe(403);
  const rebound = await new Promise<number>((resolve, reject) => {
    const headers = { 'content-type': 'application/json', host: 'evil.example' };
    const request = httpRequest(
      { port: api!.httpPort, path: `/nereid.admin.v1.AdminService/ListModels`, method: 'POST', headers },
      (reply) => resolve(reply.resume().statusCode!),
    );
    request.on('error', reject).end('{}');
  });
  expect(rebound).toBe(403);
  expect((await post('ListModels', {}, { origin: 'http://localhost:5173' })).status).toBe(200);
});
