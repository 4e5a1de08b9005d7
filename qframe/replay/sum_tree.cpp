// The sum tree's two operations, as sum_tree.py describes them: the same additions in the same order, so the same bits.

#include <cmath>
#include <cstdint>

// FAN_OUT is sum_tree.py's.

namespace {
// A node lies in two cache lines.
inline void fetch(const double *node) {
    __builtin_prefetch(node);
    __builtin_prefetch(node + FAN_OUT / 2);
}
}

extern "C" {

// Sets leaves and sums up the nodes above them. Returns 1, having changed nothing, where an index or a value is refused.
int set_leaves(double **levels, int64_t depth, double *roots, double *running, int64_t num_roots, int64_t capacity,
               const int64_t *index, const double *value, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        if (index[i] < 0 || index[i] >= capacity || !(value[i] >= 0.0) || std::isinf(value[i])) return 1;
    }
    double *leaves = levels[depth - 1];
    for (int64_t i = 0; i < count; ++i) fetch(leaves + index[i] / FAN_OUT * FAN_OUT);
    for (int64_t i = 0; i < count; ++i) leaves[index[i]] = value[i];
    int64_t width = 1;
    for (int64_t level = depth - 1; level >= 0; --level) {
        width *= FAN_OUT;
        double *above = level ? levels[level - 1] : roots;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t node = index[i] / width;
            const double *child = levels[level] + node * FAN_OUT;
            double sum = child[0];
            for (int64_t j = 1; j < FAN_OUT; ++j) sum += child[j];
            above[node] = sum;
        }
    }
    double sum = 0.0;
    for (int64_t root = 0; root < num_roots; ++root) running[root + 1] = sum += roots[root];
    return 0;
}

// The first leaf at which the running sum exceeds each mass, which is written over. All masses go down the tree level
// by level, and what the next level reads is fetched ahead: most of the time is memory's.
void find_leaves(double **levels, int64_t depth, const double *running, int64_t num_roots, double *mass, int64_t *found,
                 int64_t count) {
    const double most = std::nextafter(running[num_roots], 0.0);
    for (int64_t i = 0; i < count; ++i) {
        const double left = std::fmin(mass[i], most);
        int64_t low = 0, high = num_roots + 1;  // the first running sum that exceeds it lies in low … high
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (running[middle] > left) high = middle;
            else low = middle + 1;
        }
        found[i] = low ? low - 1 : 0;
        mass[i] = left - running[found[i]];
        fetch(levels[0] + found[i] * FAN_OUT);
    }
    for (int64_t level = 0; level < depth; ++level) {
        for (int64_t i = 0; i < count; ++i) {
            const double *child = levels[level] + found[i] * FAN_OUT;
            double sums[FAN_OUT + 1] = {0.0, child[0]};
            for (int64_t j = 1; j < FAN_OUT; ++j) sums[j + 1] = sums[j] + child[j];
            const double left = std::fmin(mass[i], std::nextafter(sums[FAN_OUT], 0.0));
            int64_t below = 0;
            for (int64_t j = 1; j < FAN_OUT; ++j) below += sums[j] <= left;
            mass[i] = left - sums[below];
            found[i] = found[i] * FAN_OUT + below;
            if (level + 1 < depth) fetch(levels[level + 1] + found[i] * FAN_OUT);
        }
    }
}

}
