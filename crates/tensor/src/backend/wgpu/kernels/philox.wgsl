// Philox4x32-10 (Salmon et al., SC 2011): ten rounds on four words.

fn philox(words: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var counter = words;
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let a = product32(counter.x, 0xd2511f53u);
        let b = product32(counter.z, 0xcd9e8d57u);
        counter = vec4(b.y ^ counter.y ^ key.x, b.x, a.y ^ counter.w ^ key.y, a.x);
        key += vec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}
