// Rows picked from sources, and their gradients sent back.

//: entry gather

// A thread two columns of a row of y; rows that are not this source's (`first .. first + rows_here`) are left to its own kernel.
@compute @workgroup_size(256)
fn gather(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 256u + thread;
    let pairs = (p.columns + 1u) / 2u;
    let m = i / pairs;
    let c = 2u * (i % pairs);
    if m >= p.count { return; }
    let row = u32(rows(m)) - p.first;
    // Those of earlier sources wrap around.
    if row >= p.rows_here { return; }
    let begin = row * p.columns + c;
    var a = source(begin);
    var b = 0.0;
    let two = c + 1u < p.columns;
    if two { b = source(begin + 1u); }
    if HAS_TABLE {
        let at = u32(positions(m)) * p.columns + c;
        a += table(at);
        if two { b += table(at + 1u); }
    }
    if two {
        put2_y(m * p.columns + c, a, b);
    } else {
        put_y(m * p.columns + c, a);
    }
}

//: entry scatter

// A thread two columns of a row of dst: the sum of what is sent to it, in order. `lists` holds, for each of `all` rows, where its
// senders begin, then the senders; `rows` rows from `first` on and `senders` senders from `senders_first` on are bound.
fn sum(row: u32, c: u32) -> f32 {
    var total = 0.0;
    for (var at = lists(p.first + row); at < lists(p.first + row + 1u); at++) {
        // Those before the bound ones wrap around.
        let sender = lists(p.all + 1u + at) - p.senders_first;
        if sender < p.senders { total += src(sender * p.columns + c); }
    }
    return total;
}

@compute @workgroup_size(256)
fn scatter(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 256u + thread;
    let pairs = (p.columns + 1u) / 2u;
    let row = i / pairs;
    let c = 2u * (i % pairs);
    if row >= p.rows { return; }
    if c + 1u < p.columns {
        put2_dst(row * p.columns + c, sum(row, c), sum(row, c + 1u));
    } else {
        put_dst(row * p.columns + c, sum(row, c));
    }
}
