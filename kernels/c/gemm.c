/* Matrix products. The naive version is Reference.matmul. */
#ifndef real
#define SOURCE "gemm.c"
#include "twice.h"
#else

#include "product.h"

/* One batched product with everything that the drivers below decide. */
typedef struct {
    int64_t batch, M, K, N;
    const real *a, *b;
    real *c;
    const int64_t *offsets; /* three for each member of the batch: two operands, then out; NULL: one member */
    int a_offset, b_offset; /* which of the two operands is a, which b */
    int64_t a_row, a_col, b_row, b_col, c_row, c_col;
    const real *row_bias, *column_bias;
    int relu, terms;
} NAME(gemm);

/* How it is cut: A is packed `batches` members or `rows` rows at a time, and jobs are (member, columns, panels). */
typedef struct {
    int mr, terms;
    int64_t rows, batches, kc, packed, split, per_thread; /* split: of one member */
} NAME(cut);

static NAME(cut) NAME(cut_gemm)(int64_t batch, int64_t M, int64_t K, int64_t b_col, int terms)
{
    NAME(cut) cut;
    cut.terms = NAME(terms_for)(terms, M, K);
    cut.mr = NAME(panel_rows)(M, cut.terms);
    cut.rows = NAME(rows_at_once)(M, K, cut.mr);
    cut.batches = cut.rows >= M ? larger(1, smaller(batch, (1 << 20) / larger(1, cut.rows * K))) : 1;
    cut.kc = NAME(block_length)(cut.rows, K, b_col, cut.terms);
    cut.packed = round_up(cut.batches * cut.rows * K, LINE);
    cut.split = NAME(split_room)(cut.rows, K, cut.mr, cut.kc, cut.terms);
    cut.per_thread = round_up(NAME(multiply_scratch)(cut.rows, K, cut.terms), LINE);
    return cut;
}

static int64_t NAME(gemm_scratch)(int64_t batch, int64_t M, int64_t K, int terms, int threads)
{
    NAME(cut) cut = NAME(cut_gemm)(batch, M, K, 1, terms), other = NAME(cut_gemm)(batch, M, K, 2, terms);
    int64_t split = cut.batches * larger(cut.split, other.split);
    return (cut.packed + split + threads * cut.per_thread) * REAL_BYTES + 4096;
}

static void NAME(run_gemm)(const NAME(gemm) *g, real *scratch, int threads)
{
    NAME(cut) cut = NAME(cut_gemm)(g->batch, g->M, g->K, g->b_col, g->terms);
    real *split = scratch + cut.packed, *private = split + cut.batches * cut.split;
    threads = team(threads, g->batch * g->M * g->N * larger(g->K, 8), 100000);
    int64_t n_jobs = ceil_div(g->N, NAME(stripe)(cut.rows, g->b_col)), want = 2 * threads, members = smaller(cut.batches, g->batch);
    if (members * n_jobs < 16 * threads)
        n_jobs = smaller(round_up(n_jobs, threads), ceil_div(g->N, 2 * NR));
    int64_t columns = ceil_div(g->N, NR);
    int64_t panels_all = ceil_div(cut.rows, cut.mr);
    int64_t m_jobs = threads == 1 || members * n_jobs >= threads ? 1 : smaller(panels_all, ceil_div(want, members * n_jobs));

#pragma omp parallel num_threads(threads) if (threads > 1)
    for (int64_t b0 = 0; b0 < g->batch; b0 += cut.batches)
        for (int64_t m0 = 0; m0 < g->M; m0 += cut.rows) {
            int64_t batches = smaller(cut.batches, g->batch - b0), rows = smaller(cut.rows, g->M - m0);
            int64_t panels = ceil_div(rows, cut.mr);
#pragma omp for schedule(static)
            for (int64_t job = 0; job < batches * panels; job++) {
                int64_t member = job / panels, first = job % panels * cut.mr;
                int64_t offset = g->offsets ? g->offsets[3 * (b0 + member) + g->a_offset] : 0;
                NAME(pack_a)(g->a + offset + m0 * g->a_row, g->a_row, (rows_of){NULL, g->a_col}, first,
                             (int)smaller(cut.mr, rows - first), rows, g->K, cut.kc, scratch + member * cut.rows * g->K);
                NAME(split_panels)(scratch + member * cut.rows * g->K, first, cut.mr, rows, g->K, cut.kc, cut.terms,
                                   (pair *)(split + member * cut.split));
            }
#pragma omp for schedule(dynamic)
            for (int64_t job = 0; job < batches * n_jobs * m_jobs; job++) {
                int64_t member = job / (n_jobs * m_jobs), n_job = job / m_jobs % n_jobs, m_job = job % m_jobs;
                const int64_t none[3] = {0, 0, 0}, *offset = g->offsets ? g->offsets + 3 * (b0 + member) : none;
                product p = {
                    .packed = scratch + member * cut.rows * g->K, .split = (pair *)(split + member * cut.split),
                    .terms = cut.terms, .mr = cut.mr, .M = rows, .K = g->K, .kc = cut.kc,
                    .b = g->b + offset[g->b_offset], .ks = {NULL, g->b_row}, .from = {1, g->N, 0, 0, g->b_col, g->N}, .slack = 0,
                    .c = g->c + offset[2] + m0 * g->c_row, .c_row = g->c_row, .to = {1, g->N, 0, 0, g->c_col, g->N},
                    .row_bias = g->row_bias ? g->row_bias + m0 : NULL, .column_bias = g->column_bias, .relu = g->relu,
                };
                NAME(multiply)(&p, panels * m_job / m_jobs, panels * (m_job + 1) / m_jobs, columns * n_job / n_jobs * NR,
                               smaller(g->N, columns * (n_job + 1) / n_jobs * NR),
                               private + thread_index() * cut.per_thread);
            }
        }
}

/* A product with few columns runs transposed, out' = b' a': its rows fill the vectors instead. */
static int NAME(is_narrow)(int64_t M, int64_t N) { return N < NR && M > N; }

static NAME(gemm) NAME(turned)(NAME(gemm) g)
{
    if (!NAME(is_narrow)(g.M, g.N))
        return g;
    return (NAME(gemm)){g.batch, g.N, g.K, g.M, g.b, g.a, g.c, g.offsets, g.b_offset, g.a_offset, g.b_col, g.b_row,
                        g.a_col, g.a_row, g.c_col, g.c_row, g.column_bias, g.row_bias, g.relu, g.terms};
}

int64_t NAME(matmul_scratch)(int64_t batch, int64_t M, int64_t K, int64_t N, int terms, int threads)
{
    return NAME(gemm_scratch)(batch, NAME(is_narrow)(M, N) ? N : M, K, terms, threads);
}

void NAME(matmul)(
    const real *a, const real *b, real *out, int64_t batch, const int64_t *offsets, int64_t M, int64_t K, int64_t N,
    int64_t a_row, int64_t a_col, int64_t b_row, int64_t b_col, int terms, void *scratch, int threads)
{
    NAME(gemm) g = {batch, M, K, N, a, b, out, offsets, 0, 1, a_row, a_col, b_row, b_col, N, 1, NULL, NULL, 0, terms};
    g = NAME(turned)(g);
    NAME(run_gemm)(&g, scratch, threads);
}

int64_t NAME(linear_scratch)(int64_t N, int64_t I, int64_t O, int terms, int threads)
{
    return NAME(gemm_scratch)(1, NAME(is_narrow)(N, O) ? O : N, I, terms, threads);
}

void NAME(linear)(
    const real *x, const real *weight, const real *bias, real *out, int64_t N, int64_t I, int64_t O, int relu, int terms,
    void *scratch, int threads)
{
    NAME(gemm) g = {1, N, I, O, x, weight, out, NULL, 0, 1, I, 1, 1, I, O, 1, NULL, bias, relu, terms};
    g = NAME(turned)(g);
    NAME(run_gemm)(&g, scratch, threads);
}

#endif
