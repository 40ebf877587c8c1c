// Sums and maxima over rows that WIDTH threads share; a workgroup of THREADS takes ROWS of them. In one order whatever the row and
// the adapter: neighbours first, then pairs of them, and so on, so that both variants give the same bits.

const THREADS = max(WIDTH, 64u);
const ROWS = THREADS / WIDTH;

var<workgroup> shared_values: array<f32, THREADS>;

//: entry subgroups

struct Thread {
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) lane: u32,
}

// The number of this thread in its workgroup, by which rows are shared out: those of a subgroup are neighbours.
fn place(t: Thread) -> u32 { return t.subgroup * t.size + t.lane; }

// Subgroups of a row have their results: each thread takes one of these `count`, neighbours those of neighbours.
fn passed_on(value: f32, count: u32, t: Thread) -> f32 {
    workgroupBarrier();
    shared_values[place(t)] = value;
    workgroupBarrier();
    let lane = place(t) % WIDTH;
    return shared_values[place(t) - lane + lane % count * t.size];
}

fn group_sum(value: f32, t: Thread) -> f32 {
    var sum = value;
    for (var count = WIDTH; count > 1u; count = count / t.size) {
        if count < WIDTH { sum = passed_on(sum, count, t); }
        for (var mask = 1u; mask < min(count, t.size); mask = mask << 1u) { sum += subgroupShuffleXor(sum, mask); }
    }
    return sum;
}

fn group_max(value: f32, t: Thread) -> f32 {
    var most = value;
    for (var count = WIDTH; count > 1u; count = count / t.size) {
        if count < WIDTH { most = passed_on(most, count, t); }
        for (var mask = 1u; mask < min(count, t.size); mask = mask << 1u) {
            most = greater(most, subgroupShuffleXor(most, mask));
        }
    }
    return most;
}

//: entry shared

struct Thread {
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
}

fn place(t: Thread) -> u32 { return t.index; }

// Results of all threads are laid out: where the up to eight of `count` begin that this thread joins.
fn laid_out(value: f32, count: u32, apart: u32, t: Thread) -> u32 {
    workgroupBarrier();
    shared_values[t.index] = value;
    workgroupBarrier();
    let lane = t.index % WIDTH;
    return t.index - lane + lane % count / 8u * 8u * apart;
}

// WIDTH is 8, 32 or 256: eight are joined at a time, and four at last.
fn group_sum(value: f32, t: Thread) -> f32 {
    var sum = value;
    for (var count = WIDTH; count > 1u; count = count / 8u) {
        let apart = select(8u, 1u, count == WIDTH);
        let i = laid_out(sum, count, apart, t);
        sum = (shared_values[i] + shared_values[i + apart]) + (shared_values[i + 2u * apart] + shared_values[i + 3u * apart]);
        if count >= 8u {
            let j = i + 4u * apart;
            sum += (shared_values[j] + shared_values[j + apart]) + (shared_values[j + 2u * apart] + shared_values[j + 3u * apart]);
        }
    }
    return sum;
}

fn group_max(value: f32, t: Thread) -> f32 {
    var most = value;
    for (var count = WIDTH; count > 1u; count = count / 8u) {
        let apart = select(8u, 1u, count == WIDTH);
        let i = laid_out(most, count, apart, t);
        for (var j = 0u; j < min(count, 8u); j++) { most = greater(most, shared_values[i + j * apart]); }
    }
    return most;
}
