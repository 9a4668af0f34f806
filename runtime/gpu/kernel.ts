// How a WGSL kernel is written down: its parameters, its buffers and its body. The bindings are made
// from the declaration, so that the numbers in WGSL and those in TypeScript cannot drift apart.

/** Parameters of a dispatch, in the order in which the device reads them. */
export type ParameterKinds = Readonly<Record<string, 'u32' | 'f32'>>;

export type Kernel<P extends ParameterKinds = ParameterKinds> = {
  readonly name: string;
  readonly parameters: P;
  /** Whether the kernel needs the feature shader-f16. */
  readonly needsF16: boolean;
  readonly source: string;
};

type Declaration<P extends ParameterKinds> = {
  readonly name: string;
  readonly parameters: P;
  /** `read x: f32` or `write y: f32`, bound in this order. */
  readonly buffers: readonly string[];
  /** Invocations of a workgroup. */
  readonly lanes: number;
  readonly needsF16?: boolean;
  /** Structures, workgroup memory and functions. */
  readonly shared?: string;
  /** `lane` is the invocation within the workgroup, `index` the workgroup within a grid of two. */
  readonly body: string;
};

export function kernel<P extends ParameterKinds>(declaration: Declaration<P>): Kernel<P> {
  const { name, parameters, buffers, lanes, needsF16 = false, shared = '', body } = declaration;
  const fields = Object.entries(parameters).map(([field, kind]) => `${field}: ${kind},`);
  const bindings = buffers.map((buffer, i) => {
    const [access, variable, type] = buffer.split(/:? /);
    const mode = access === 'read' ? 'read' : 'read_write';
    return `@group(0) @binding(${i + 1}) var<storage, ${mode}> ${variable}: array<${type}>;`;
  });
  const source = `${needsF16 ? 'enable f16;\n' : ''}
struct Parameters { ${fields.join(' ')} }
@group(0) @binding(0) var<uniform> p: Parameters;
${bindings.join('\n')}
${shared}
@compute @workgroup_size(${lanes})
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  let index = group.x + group.y * groups.x;
${body}
}`;
  return { name, parameters, needsF16, source };
}

/** One row of a step: a token, where it stands, and whose adapter it uses. Eight words each. */
export const ROW = `
struct Row {
  token: u32, position: u32, keys: u32, adapter: u32,
  answer: u32, weight: f32, end: u32, spare: u32,
}
const none = 0xffffffffu;
`;

/** Sum and maximum over the 64 lanes of a workgroup; every lane gets the result. */
export const REDUCE = `
var<workgroup> partial: array<f32, 64>;
fn sumOf(value: f32, lane: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half >>= 1u) {
    if (lane < half) { partial[lane] += partial[lane + half]; }
    workgroupBarrier();
  }
  let total = partial[0];
  workgroupBarrier();
  return total;
}
fn maximumOf(value: f32, lane: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half >>= 1u) {
    if (lane < half) { partial[lane] = max(partial[lane], partial[lane + half]); }
    workgroupBarrier();
  }
  let top = partial[0];
  workgroupBarrier();
  return top;
}
`;
