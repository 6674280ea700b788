import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fieldsOf } from '../../model-server/backend/graph/fields.ts';
import { ELEMENT } from '../../model-server/backend/graph/graph.ts';
import { encodeTensor, makeNode, withPorts } from '../../model-server/backend/graph/make-node.ts';
import { readGraph } from '../../model-server/backend/graph/read-graph.ts';
import { readWeights } from '../../model-server/backend/graph/weights.ts';
import { writeGraph } from '../../model-server/backend/graph/write-graph.ts';
import { encoder, list, node, numbers, random } from './packing-models.ts';
import { shippedRepository } from './repository.ts';

const shipped = new Uint8Array(readFileSync(join(shippedRepository, 'all-minilm-l6-v2/1/model.onnx')));

/** The fields of an ONNX file and of its graph, in an order that does not depend on the writer. */
function partsOf(file: Uint8Array): string[] {
  const all = [...fieldsOf(file)].flatMap((field) =>
    field.number === 7 ? [...fieldsOf(field.content)].map(({ bytes }) => bytes) : [field.bytes],
  );
  return all.map((bytes) => Buffer.from(bytes).toString('latin1')).sort();
}

describe('an ONNX file that is read and written', () => {
  it('is the same in every field, the shipped model too', () => {
    const model = encoder({
      nodes: [node('Identity', ['x'], 'last_hidden_state')],
      weights: [list('l', 1, 2)],
    });
    for (const file of [model, shipped]) expect(partsOf(writeGraph(readGraph(file)))).toEqual(partsOf(file));
  });

  it('keeps fields that are not known, in the file and in the graph', () => {
    const unknown = (number: number, text: string) =>
      new BinaryWriter().tag(number, WireType.LengthDelimited).string(text).finish();
    const graph = readGraph(encoder());
    const odd = {
      ...graph,
      fileRest: [...graph.fileRest, unknown(99, 'file')],
      graphRest: [...graph.graphRest, unknown(98, 'graph')],
    };
    const file = writeGraph(odd);
    expect(partsOf(writeGraph(readGraph(file)))).toEqual(partsOf(file));
    expect(partsOf(file).join()).toMatch(/graph.*file|file.*graph/s);
  });

  it('is not copied by reading: weights are views of the file', () => {
    const file = encoder();
    const { graphRest, nodes } = readGraph(file);
    for (const bytes of [...graphRest, ...nodes.map((one) => one.bytes!)])
      expect(bytes.buffer).toBe(file.buffer);
  });

  it('tells nodes, attributes, weights and shapes', () => {
    const graph = readGraph(
      encoder({
        nodes: [node('Transpose', ['x', ''], ['last_hidden_state', 'second'], { perm: [0, 1, 2], axis: -3 })],
        weights: [random('w', 4, 4), numbers('f', 0.5), list('l', -1, 7)],
        opset: 15,
      }),
    );
    expect(graph).toMatchObject({ opset: 15, hasForeignWeights: false });
    const [, transpose] = graph.nodes;
    expect(transpose).toMatchObject({ opType: 'Transpose', domain: '', inputs: ['x', ''] });
    expect(transpose!.outputs).toEqual(['last_hidden_state', 'second']);
    expect(transpose!.attributes.get('perm')!.ints).toEqual([0, 1, 2]);
    expect(transpose!.attributes.get('axis')!.int).toBe(-3);
    expect(graph.weights.get('f')).toMatchObject({ dims: [], values: [0.5], element: ELEMENT.FP32 });
    expect(graph.weights.get('l')).toMatchObject({ dims: [2], values: [-1, 7] });
    expect(graph.weights.get('w')).toMatchObject({ dims: [4, 4] });
    // Of what is large nothing is decoded.
    expect(graph.weights.get('table')).toMatchObject({ dims: [40, 8], values: undefined });
    expect(graph.inputs.map(({ name, dims }) => [name, dims])).toEqual([
      ['input_ids', ['batch', 'sequence']],
      ['attention_mask', ['batch', 'sequence']],
    ]);
    expect(graph.outputs[0]).toMatchObject({ dims: ['batch', 'sequence', 8] });
  });

  it('can be given other nodes', () => {
    const graph = readGraph(encoder());
    const [gather] = graph.nodes;
    const nodes = [
      withPorts(gather!, { outputs: ['rows'] }),
      makeNode('Transpose', [['rows'], ['last_hidden_state']], { axis: -1 }),
    ];
    const again = readGraph(writeGraph({ ...graph, nodes }));
    expect(again.nodes.map(({ opType, inputs, outputs }) => ({ opType, inputs, outputs }))).toEqual([
      { opType: 'Gather', inputs: ['table', 'input_ids'], outputs: ['rows'] },
      { opType: 'Transpose', inputs: ['rows'], outputs: ['last_hidden_state'] },
    ]);
    expect(again.nodes[1]!.attributes.get('axis')!.int).toBe(-1);
  });

  it('knows a file that is none', () => {
    expect(() => readGraph(new Uint8Array(0))).toThrow(/no ONNX file/);
    expect(() => readGraph(shipped.subarray(0, 1000))).toThrow();
  });
});

describe('weights', () => {
  const small = fc.array(fc.maxSafeInteger(), { maxLength: 12 });
  it('of integers come back as they were written', () =>
    fc.assert(
      fc.property(small, (values) => {
        const tensor = encodeTensor({ element: ELEMENT.INT64, dims: [values.length], values }, 'n');
        expect(readWeights(tensor)).toEqual({
          name: 'n',
          element: ELEMENT.INT64,
          dims: [values.length],
          values,
          isExternal: false,
        });
      }),
    ));

  it('are read from fields of their own type as well as from raw bytes', () => {
    const ints = new BinaryWriter()
      .tag(1, WireType.Varint)
      .int64(2)
      .tag(2, WireType.Varint)
      .int32(ELEMENT.INT64);
    ints.tag(7, WireType.LengthDelimited).fork().int64(-1).int64(300).join();
    expect(readWeights(ints.finish()).values).toEqual([-1, 300]);
    const floats = new BinaryWriter()
      .tag(1, WireType.Varint)
      .int64(2)
      .tag(2, WireType.Varint)
      .int32(ELEMENT.FP32);
    floats.tag(4, WireType.Bit32).float(0.5).tag(4, WireType.Bit32).float(-2);
    expect(readWeights(floats.finish()).values).toEqual([0.5, -2]);
  });

  it('that do not fit their shape have no values', () => {
    const tensor = encodeTensor({ element: ELEMENT.INT64, dims: [3], values: [1, 2] });
    expect(readWeights(tensor).values).toBeUndefined();
  });
});
