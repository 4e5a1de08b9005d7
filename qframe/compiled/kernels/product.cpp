// Matrix products of 32-bit floats on one core with AVX-512, for a compiled update: `left @ right`, any strides; and
// convolutions, which are products whose left factor is the patches of images, read where they lie.
//
// Every element of the result is one chain of fused multiply-adds over k, in order, wherever it stands: equal bits for
// equal rows and columns, however many there are. 8 rows × 48 columns of the result stay in registers at a time, and
// 48 columns of 2,048 rows of `right` in the cache.

#include <algorithm>
#include <cstdint>
#include <immintrin.h>
#include <memory>
#include <vector>

#define AVX512 __attribute__((target("avx512f")))
#define TILE __attribute__((target("avx512f"), always_inline)) inline

extern "C" { // torch's stable C interface (torch/csrc/inductor/aoti_torch/c/shim.h); all return 0 or an error code
int32_t aoti_torch_get_data_ptr(void *, void **);
int32_t aoti_torch_get_sizes(void *, int64_t **);
int32_t aoti_torch_get_strides(void *, int64_t **);
int32_t aoti_torch_empty_strided(int64_t, const int64_t *, const int64_t *, int32_t, int32_t, int32_t, void **);
int32_t aoti_torch_dtype_float32();
int32_t aoti_torch_device_type_cpu();
}

namespace {

constexpr int64_t WIDTH = 16, COLUMNS = 3 * WIDTH, DEPTH = 2048;

struct Matrix {
    const float *data;
    int64_t row, column; // strides
    const float *at_row(int64_t i) const { return data + i * row; }
    int64_t at_column(int64_t k) const { return k * column; }
    Matrix from(int64_t i, int64_t k) const { return {at_row(i) + at_column(k), row, column}; }
};

// Patches of images, a row each: element (i, k) is `rows[i] + columns[k]` floats behind the first.
struct Patches {
    const float *data;
    const int64_t *rows, *columns;
    const float *at_row(int64_t i) const { return data + rows[i]; }
    int64_t at_column(int64_t k) const { return columns[k]; }
    Patches from(int64_t i, int64_t k) const { return {data, rows + i, columns + k}; }
};

struct Result {
    float *data;
    int64_t stride;
    bool is_begun; // `data` holds the sums of the first parts, to be added to
};

// C vectors of R rows; the last vector has only the columns of the mask. `right` has columns side by side.
template <int R, int C, class Left> TILE void tile(Left left, Matrix right, __mmask16 mask, Result result, int64_t depth) {
    const float *rows[R];
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) rows[i] = left.at_row(i);
    __m512 sum[R][C];
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < C; ++j) {
            const float *begun = result.data + i * result.stride + j * WIDTH;
            sum[i][j] = _mm512_maskz_loadu_ps(result.is_begun ? (j < C - 1 ? 0xffff : mask) : 0, begun);
        }
    for (int64_t k = 0; k < depth; ++k) {
        const float *row = right.at_row(k);
        const int64_t column = left.at_column(k);
        __m512 part[C];
#pragma GCC unroll 3
        for (int j = 0; j < C; ++j)
            part[j] = j < C - 1 ? _mm512_loadu_ps(row + j * WIDTH) : _mm512_maskz_loadu_ps(mask, row + j * WIDTH);
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) {
            const __m512 factor = _mm512_set1_ps(rows[i][column]);
#pragma GCC unroll 3
            for (int j = 0; j < C; ++j) sum[i][j] = _mm512_fmadd_ps(factor, part[j], sum[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < C; ++j) {
            float *end = result.data + i * result.stride + j * WIDTH;
            if (j < C - 1) _mm512_storeu_ps(end, sum[i][j]);
            else _mm512_mask_storeu_ps(end, mask, sum[i][j]);
        }
}

// All rows of at most 48 columns.
template <int C, class Left>
AVX512 void panel(Left left, Matrix right, __mmask16 mask, Result result, int64_t rows, int64_t depth) {
    const auto at = [&](int64_t m) { return Result{result.data + m * result.stride, result.stride, result.is_begun}; };
    int64_t m = 0;
    for (; m + 8 <= rows; m += 8) tile<8, C>(left.from(m, 0), right, mask, at(m), depth);
    for (; m + 4 <= rows; m += 4) tile<4, C>(left.from(m, 0), right, mask, at(m), depth);
    for (; m < rows; ++m) tile<1, C>(left.from(m, 0), right, mask, at(m), depth);
}

// `result`, [rows, columns], is written row after row. `scratch` holds 48 · min(depth, 2048) floats, unless columns of
// right lie side by side.
template <class Left>
AVX512 void multiply(Left left, Matrix right, float *scratch, float *result, int64_t rows, int64_t columns,
                     int64_t depth) {
    for (int64_t n = 0; n < columns; n += COLUMNS)
        for (int64_t first = 0; first < depth; first += DEPTH) {
            const int64_t wide = std::min(columns - n, COLUMNS), deep = std::min(depth - first, DEPTH);
            Matrix part = right.from(first, n);
            if (right.column != 1) {
                for (int64_t line = 0; line < deep; line += WIDTH) // each cache line is read to its end
                    for (int64_t j = 0; j < wide; ++j)
                        for (int64_t k = line; k < std::min(deep, line + WIDTH); ++k)
                            scratch[k * COLUMNS + j] = part.at_row(k)[part.at_column(j)];
                part = {scratch, COLUMNS, 1};
            }
            const Left begin = left.from(0, first);
            const Result to{result + n, columns, first > 0};
            const __mmask16 mask = static_cast<__mmask16>((1u << ((wide - 1) % WIDTH + 1)) - 1);
            if (wide > 2 * WIDTH) panel<3>(begin, part, mask, to, rows, deep);
            else if (wide > WIDTH) panel<2>(begin, part, mask, to, rows, deep);
            else panel<1>(begin, part, mask, to, rows, deep);
        }
}

struct Tensor {
    float *data;
    int64_t *shape, *strides;
};

int32_t look_at(void *handle, Tensor *tensor) {
    void *data;
    if (aoti_torch_get_sizes(handle, &tensor->shape) || aoti_torch_get_strides(handle, &tensor->strides)) return 1;
    if (aoti_torch_get_data_ptr(handle, &data)) return 1;
    tensor->data = static_cast<float *>(data);
    return 0;
}

template <class Left> int32_t multiplied(Left left, const Tensor &right, int64_t rows, void **result) {
    const int64_t depth = right.shape[0], sizes[] = {rows, right.shape[1]}, strides[] = {right.shape[1], 1};
    const int32_t kind = aoti_torch_dtype_float32(), device = aoti_torch_device_type_cpu();
    void *data;
    if (aoti_torch_empty_strided(2, sizes, strides, kind, device, 0, result)) return 1;
    if (aoti_torch_get_data_ptr(*result, &data)) return 1;
    const Matrix factor{right.data, right.strides[0], right.strides[1]};
    const std::unique_ptr<float[]> scratch(factor.column == 1 ? nullptr : new float[COLUMNS * std::min(depth, DEPTH)]);
    multiply(left, factor, scratch.get(), static_cast<float *>(data), rows, sizes[1], depth);
    return 0;
}

} // namespace

extern "C" {

AVX512 void qframe_product(const float *left, int64_t left_row, int64_t left_column, const float *right,
                           int64_t right_row, int64_t right_column, float *scratch, float *result, int64_t rows,
                           int64_t columns, int64_t depth) {
    const Matrix factor{left, left_row, left_column};
    multiply(factor, {right, right_row, right_column}, scratch, result, rows, columns, depth);
}

// Called by compiled code for `qframe::product(Tensor left, Tensor right) -> Tensor`.
int32_t aoti_torch_cpu_product(void *left, void *right, void **result) {
    Tensor a, b;
    if (look_at(left, &a) || look_at(right, &b)) return 1;
    return multiplied(Matrix{a.data, a.strides[0], a.strides[1]}, b, a.shape[0], result);
}

// Called for `qframe::patches_product(Tensor images, Tensor right, int height, int width, int stride, int transposed)`:
// patches of [B, C, H, W] as [B · H' · W', C · height · width], or the transpose of that, times right.
int32_t aoti_torch_cpu_patches_product(void *images, void *right, int64_t height, int64_t width, int64_t stride,
                                       int64_t transposed, void **result) {
    Tensor a, b;
    if (look_at(images, &a) || look_at(right, &b)) return 1;
    const int64_t down = (a.shape[2] - height) / stride + 1, across = (a.shape[3] - width) / stride + 1;
    std::vector<int64_t> patches, pixels;
    for (int64_t image = 0; image < a.shape[0]; ++image)
        for (int64_t y = 0; y < down; ++y)
            for (int64_t x = 0; x < across; ++x)
                patches.push_back(image * a.strides[0] + stride * (y * a.strides[2] + x * a.strides[3]));
    for (int64_t channel = 0; channel < a.shape[1]; ++channel)
        for (int64_t y = 0; y < height; ++y)
            for (int64_t x = 0; x < width; ++x)
                pixels.push_back(channel * a.strides[1] + y * a.strides[2] + x * a.strides[3]);
    const auto &rows = transposed ? pixels : patches, &columns = transposed ? patches : pixels;
    return multiplied(Patches{a.data, rows.data(), columns.data()}, b, rows.size(), result);
}
}
