// An attention whose inside is read by others too: its sum by a map behind it (found by the fuzzer of gradients, seed 7700308), its scores by
// a comparison with their maximum (seed 91129).
import { expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import { einsum, exp, gradients, parse, randomParams, reduce, trace } from '../../dsl/index.ts';

const text = `
graph
%0 = param name=layers.0.weight : f16 [e:17 d:17 b:17]
%1 = sub %0 %0 : f16 [e:17 d:17 b:17]
%2 = cast %1 to=f32 : f32 [e:17 d:17 b:17]
%3 = sum %2 axes=[e d b] : f32 []
%4 = input name=x : f16 [c:17 a:17]
%5 = input name=x1 : f16 [e:17 a:17]
%6 = contract %4 %5 axes=[c e] : f16 [c:17 e:17]
%7 = reduceMax %6 axes=[e] : f16 [c:17]
%8 = sub %6 %7 : f16 [c:17 e:17]
%9 = exp %8 : f16 [c:17 e:17]
%10 = sum %9 axes=[e] : f16 [c:17]
%11 = cast %10 to=f32 : f32 [c:17]
%12 = sum %11 axes=[c] : f32 []
%13 = add %3 %12 : f32 []
%14 = div %9 %10 : f16 [c:17 e:17]
%15 = input name=mm_projector : f16 [e:17 a:17]
%16 = contract %14 %15 axes=[c a] : f16 [c:17 a:17]
%17 = mul %16 %10 : f16 [c:17 a:17]
%18 = cast %17 to=f32 : f32 [c:17 a:17]
%19 = sum %18 axes=[c a] : f32 []
%20 = add %13 %19 : f32 []
%21 = rearrange %0 pattern="e d b -> br=(b) dr=(d) er=(e)" : f16 [br:17 dr:17 er:17]
%22 = rearrange %21 pattern="br dr er -> br er dr" : f16 [br:17 er:17 dr:17]
%23 = cast %22 to=f32 : f32 [br:17 er:17 dr:17]
%24 = sum %23 axes=[br er dr] : f32 []
%25 = add %20 %24 : f32 []
%26 = mul %9 %6 : f16 [c:17 e:17]
%27 = cast %26 to=f32 : f32 [c:17 e:17]
%28 = sum %27 axes=[c e] : f32 []
%29 = add %25 %28 : f32 []
%30 = const values=<1> : f32 []
%31 = broadcast %30 axes=[br:17 er:17 dr:17] : f32 [br:17 er:17 dr:17]
%32 = cast %31 to=f16 : f16 [br:17 er:17 dr:17]
%33 = cast %32 to=f32 : f32 [br:17 er:17 dr:17]
%34 = cast %33 to=f16 : f16 [br:17 er:17 dr:17]
%35 = rearrange %34 pattern="br er dr -> br dr er" : f16 [br:17 dr:17 er:17]
%36 = cast %35 to=f32 : f32 [br:17 dr:17 er:17]
%37 = cast %36 to=f16 : f16 [br:17 dr:17 er:17]
%38 = rearrange %37 pattern="b d e -> e d b" : f16 [e:17 d:17 b:17]
%39 = cast %38 to=f32 : f32 [e:17 d:17 b:17]
%40 = cast %39 to=f16 : f16 [e:17 d:17 b:17]
%41 = cast %40 to=f32 : f32 [e:17 d:17 b:17]
%42 = broadcast %30 axes=[e:17 d:17 b:17] : f32 [e:17 d:17 b:17]
%43 = cast %42 to=f16 : f16 [e:17 d:17 b:17]
%44 = cast %43 to=f32 : f32 [e:17 d:17 b:17]
%45 = cast %44 to=f16 : f16 [e:17 d:17 b:17]
%46 = cast %45 to=f32 : f32 [e:17 d:17 b:17]
%47 = cast %46 to=f16 : f16 [e:17 d:17 b:17]
%48 = cast %47 to=f32 : f32 [e:17 d:17 b:17]
%49 = add %41 %48 : f32 [e:17 d:17 b:17]
%50 = neg %45 : f16 [e:17 d:17 b:17]
%51 = cast %50 to=f32 : f32 [e:17 d:17 b:17]
%52 = cast %51 to=f16 : f16 [e:17 d:17 b:17]
%53 = cast %52 to=f32 : f32 [e:17 d:17 b:17]
%54 = add %49 %53 : f32 [e:17 d:17 b:17]
%55 = cast %54 to=f16 : f16 [e:17 d:17 b:17]
%56 = broadcast %30 axes=[c:17 e:17] : f32 [c:17 e:17]
%57 = cast %56 to=f16 : f16 [c:17 e:17]
%58 = cast %57 to=f32 : f32 [c:17 e:17]
%59 = cast %58 to=f16 : f16 [c:17 e:17]
%60 = mul %59 %9 : f16 [c:17 e:17]
%61 = cast %60 to=f32 : f32 [c:17 e:17]
%62 = cast %61 to=f16 : f16 [c:17 e:17]
%63 = cast %62 to=f32 : f32 [c:17 e:17]
%64 = mul %59 %6 : f16 [c:17 e:17]
%65 = cast %64 to=f32 : f32 [c:17 e:17]
%66 = cast %65 to=f16 : f16 [c:17 e:17]
%67 = cast %66 to=f32 : f32 [c:17 e:17]
%68 = broadcast %30 axes=[c:17 a:17] : f32 [c:17 a:17]
%69 = cast %68 to=f16 : f16 [c:17 a:17]
%70 = cast %69 to=f32 : f32 [c:17 a:17]
%71 = cast %70 to=f16 : f16 [c:17 a:17]
%72 = mul %71 %10 : f16 [c:17 a:17]
%73 = cast %72 to=f32 : f32 [c:17 a:17]
%74 = cast %73 to=f16 : f16 [c:17 a:17]
%75 = contract %74 %15 axes=[c e] : f16 [c:17 e:17]
%76 = div %75 %10 : f16 [c:17 e:17]
%77 = cast %76 to=f32 : f32 [c:17 e:17]
%78 = cast %77 to=f16 : f16 [c:17 e:17]
%79 = cast %78 to=f32 : f32 [c:17 e:17]
%80 = add %67 %79 : f32 [c:17 e:17]
%81 = mul %71 %16 : f16 [c:17 a:17]
%82 = cast %81 to=f32 : f32 [c:17 a:17]
%83 = sum %82 axes=[a] : f32 [c:17]
%84 = cast %83 to=f16 : f16 [c:17]
%85 = cast %84 to=f32 : f32 [c:17]
%86 = mul %75 %14 : f16 [c:17 e:17]
%87 = div %86 %10 : f16 [c:17 e:17]
%88 = neg %87 : f16 [c:17 e:17]
%89 = cast %88 to=f32 : f32 [c:17 e:17]
%90 = sum %89 axes=[e] : f32 [c:17]
%91 = cast %90 to=f16 : f16 [c:17]
%92 = cast %91 to=f32 : f32 [c:17]
%93 = add %85 %92 : f32 [c:17]
%94 = broadcast %30 axes=[c:17] : f32 [c:17]
%95 = cast %94 to=f16 : f16 [c:17]
%96 = cast %95 to=f32 : f32 [c:17]
%97 = cast %96 to=f16 : f16 [c:17]
%98 = cast %97 to=f32 : f32 [c:17]
%99 = add %93 %98 : f32 [c:17]
%100 = cast %99 to=f16 : f16 [c:17]
%101 = broadcast %100 axes=[c:17 e:17] : f16 [c:17 e:17]
%102 = cast %101 to=f32 : f32 [c:17 e:17]
%103 = add %80 %102 : f32 [c:17 e:17]
%104 = cast %103 to=f16 : f16 [c:17 e:17]
%105 = mul %104 %9 : f16 [c:17 e:17]
%106 = cast %105 to=f32 : f32 [c:17 e:17]
%107 = cast %106 to=f16 : f16 [c:17 e:17]
%108 = cast %107 to=f32 : f32 [c:17 e:17]
%109 = cast %108 to=f16 : f16 [c:17 e:17]
%110 = cast %109 to=f32 : f32 [c:17 e:17]
%111 = add %63 %110 : f32 [c:17 e:17]
%112 = eq %6 %7 : bool [c:17 e:17]
%113 = neg %107 : f16 [c:17 e:17]
%114 = cast %113 to=f32 : f32 [c:17 e:17]
%115 = sum %114 axes=[e] : f32 [c:17]
%116 = cast %115 to=f16 : f16 [c:17]
%117 = cast %112 to=f16 : f16 [c:17 e:17]
%118 = cast %117 to=f32 : f32 [c:17 e:17]
%119 = sum %118 axes=[e] : f32 [c:17]
%120 = cast %119 to=f16 : f16 [c:17]
%121 = div %116 %120 : f16 [c:17]
%122 = const values=<0> : f16 []
%123 = where %112 %121 %122 : f16 [c:17 e:17]
%124 = cast %123 to=f32 : f32 [c:17 e:17]
%125 = add %111 %124 : f32 [c:17 e:17]
%126 = cast %125 to=f16 : f16 [c:17 e:17]
%127 = contract %126 %5 axes=[c a] : f16 [c:17 a:17]
%128 = contract %126 %4 axes=[e a] : f16 [e:17 a:17]
%129 = contract %74 %14 axes=[e a] : f16 [e:17 a:17]
return loss=%29 "d layers.0.weight"=%55 "d x"=%127 "d x1"=%128 "d mm_projector"=%129
`;

test.each([lavapipe, desktopGpu])(
  '$name: the sum has a kernel, and the map behind the attention loads it',
  (profile) => {
    const graph = parse(text.trim());
    expect(compile(graph, profile, { verify: true }).outputs).toHaveLength(graph.outputs.size);
  },
);

test.each([lavapipe, desktopGpu])(
  '$name: scores that are compared with their maximum are stored, not summed once for each kernel',
  (profile) => {
    const keys = { b: 33, e: 17, a: 12 };
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'b c a', { b: 33, c: 9, a: 12 });
      const [y, v] = [t.input('y', 'b e a', keys), t.input('v', 'b e a', keys)];
      const scores = einsum(x, y, 'b c a, b e a -> b c e');
      const shifted = scores.sub(reduce(scores, 'b c e -> b c', 'max'));
      const powers = exp(shifted);
      const weights = powers.div(reduce(powers, 'b c e -> b c', 'sum'));
      const read = einsum(weights, v, 'b c e, b e a -> b c a');
      const loss = reduce(read, 'b c a ->', 'sum').add(reduce(shifted.mul(shifted), 'b c e ->', 'sum'));
      const [dx, dy] = gradients(loss, [x, y]);
      return { read, dx, dy };
    });
    const compared: boolean[] = [];
    compile(graph, profile, {
      verify: true,
      report: (stage) => {
        if (stage.name !== 'group' || stage.which !== 'main') return;
        const { groups, stored } = stage.grouping;
        for (const node of new Set(groups.flatMap((group) => [...group.nodes])))
          if (node.op.name === 'eq') compared.push(node.inputs.some((x) => x.op.kind === 'contract' && stored.has(x)));
      },
    });
    expect(compared).toEqual([true]);
  },
);
