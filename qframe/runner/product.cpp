// A matrix product of 32-bit floats on one core with AVX-512, for a compiled update: `left @ right`, any strides.
//
// Every element of the result is one chain of fused multiply-adds over k, in order, wherever it stands: equal bits for
// equal rows and columns, however many there are. 8 rows × 48 columns of the result stay in registers at a time.

#include <cstdint>
#include <immintrin.h>
#include <memory>

#define AVX512 __attribute__((target("avx512f")))
#define TILE __attribute__((target("avx512f"), always_inline)) inline

namespace {

constexpr int64_t WIDTH = 16, COLUMNS = 3 * WIDTH;

struct Matrix {
    const float *data;
    int64_t row, column; // strides
};

// C vectors of R rows; the last vector has only the columns of the mask. `right` has columns side by side.
template <int R, int C>
TILE void tile(Matrix left, Matrix right, __mmask16 mask, float *result, int64_t stride, int64_t depth) {
    __m512 sum[R][C];
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < C; ++j) sum[i][j] = _mm512_setzero_ps();
    for (int64_t k = 0; k < depth; ++k) {
        const float *row = right.data + k * right.row;
        __m512 part[C];
#pragma GCC unroll 3
        for (int j = 0; j < C; ++j)
            part[j] = j < C - 1 ? _mm512_loadu_ps(row + j * WIDTH) : _mm512_maskz_loadu_ps(mask, row + j * WIDTH);
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) {
            const __m512 factor = _mm512_set1_ps(left.data[i * left.row + k * left.column]);
#pragma GCC unroll 3
            for (int j = 0; j < C; ++j) sum[i][j] = _mm512_fmadd_ps(factor, part[j], sum[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 3
        for (int j = 0; j < C; ++j) {
            if (j < C - 1) _mm512_storeu_ps(result + i * stride + j * WIDTH, sum[i][j]);
            else _mm512_mask_storeu_ps(result + i * stride + j * WIDTH, mask, sum[i][j]);
        }
}

// All rows of at most 48 columns.
template <int C>
AVX512 void panel(Matrix left, Matrix right, __mmask16 mask, float *result, int64_t stride, int64_t rows,
                  int64_t depth) {
    const auto from = [&](int64_t m) { return Matrix{left.data + m * left.row, left.row, left.column}; };
    int64_t m = 0;
    for (; m + 8 <= rows; m += 8) tile<8, C>(from(m), right, mask, result + m * stride, stride, depth);
    for (; m + 4 <= rows; m += 4) tile<4, C>(from(m), right, mask, result + m * stride, stride, depth);
    for (; m < rows; ++m) tile<1, C>(from(m), right, mask, result + m * stride, stride, depth);
}

} // namespace

extern "C" {

// `result`, [rows, columns], is written row after row. `scratch` holds 48 · depth floats, unless columns of right lie
// side by side.
AVX512 void qframe_product(const float *left, int64_t left_row, int64_t left_column, const float *right,
                           int64_t right_row, int64_t right_column, float *scratch, float *result, int64_t rows,
                           int64_t columns, int64_t depth) {
    const Matrix factor{left, left_row, left_column};
    for (int64_t n = 0; n < columns; n += COLUMNS) {
        const int64_t wide = columns - n < COLUMNS ? columns - n : COLUMNS, last = (wide - 1) % WIDTH + 1;
        Matrix part{right + n * right_column, right_row, 1};
        if (right_column != 1) {
            for (int64_t k = 0; k < depth; ++k)
                for (int64_t j = 0; j < wide; ++j)
                    scratch[k * COLUMNS + j] = part.data[k * right_row + j * right_column];
            part = {scratch, COLUMNS, 1};
        }
        const __mmask16 mask = static_cast<__mmask16>((1u << last) - 1);
        if (wide > 2 * WIDTH) panel<3>(factor, part, mask, result + n, columns, rows, depth);
        else if (wide > WIDTH) panel<2>(factor, part, mask, result + n, columns, rows, depth);
        else panel<1>(factor, part, mask, result + n, columns, rows, depth);
    }
}

// torch's stable C interface (torch/csrc/inductor/aoti_torch/c/shim.h); all return 0, or what went wrong.
int32_t aoti_torch_get_data_ptr(void *, void **);
int32_t aoti_torch_get_sizes(void *, int64_t **);
int32_t aoti_torch_get_strides(void *, int64_t **);
int32_t aoti_torch_empty_strided(int64_t, const int64_t *, const int64_t *, int32_t, int32_t, int32_t, void **);
int32_t aoti_torch_dtype_float32();
int32_t aoti_torch_device_type_cpu();

// What compiled code calls for `qframe::product(Tensor left, Tensor right) -> Tensor`.
int32_t aoti_torch_cpu_product(void *left, void *right, void **result) {
    int64_t *shape, *other, *step, *pace;
    void *data[3];
    if (aoti_torch_get_sizes(left, &shape) || aoti_torch_get_sizes(right, &other)) return 1;
    if (aoti_torch_get_strides(left, &step) || aoti_torch_get_strides(right, &pace)) return 1;
    const int64_t sizes[] = {shape[0], other[1]}, strides[] = {other[1], 1}, depth = shape[1];
    const int32_t kind = aoti_torch_dtype_float32(), device = aoti_torch_device_type_cpu();
    if (aoti_torch_empty_strided(2, sizes, strides, kind, device, 0, result)) return 1;
    if (aoti_torch_get_data_ptr(left, &data[0]) || aoti_torch_get_data_ptr(right, &data[1])) return 1;
    if (aoti_torch_get_data_ptr(*result, &data[2])) return 1;
    const std::unique_ptr<float[]> scratch(pace[1] == 1 ? nullptr : new float[COLUMNS * depth]);
    qframe_product(static_cast<float *>(data[0]), step[0], step[1], static_cast<float *>(data[1]), pace[0], pace[1],
                   scratch.get(), static_cast<float *>(data[2]), sizes[0], sizes[1], depth);
    return 0;
}
}
