/* Adam's update of a network in one pass over its arrays.
 *
 * MXNet's own operator is not vectorised. This does the same arithmetic (tests compare the
 * two) as fast as memory allows. It is optional: without a C compiler at installation,
 * optimizers.py uses MXNet's operator. The engine of MXNet calls adam_run, see adam.py.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    float *weight, *mean, *square;
    const float *gradient;
    long size;
} Array;

typedef struct {
    float rate, beta1, beta2, epsilon, clip;
    int threads, count;
    Array arrays[];
} Update;

/* One version per instruction set, chosen when the program is loaded. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static void update_range(const Update *u, const Array *a, long start, long end) {
    const float beta1 = u->beta1, beta2 = u->beta2, clip = u->clip;
    const float rate = u->rate, epsilon = u->epsilon;
    float *restrict weight = a->weight, *restrict mean = a->mean, *restrict square = a->square;
    const float *restrict gradient = a->gradient;
    for (long i = start; i < end; i++) {
        float g = gradient[i];
        g = g > clip ? clip : g;
        g = g < -clip ? -clip : g;
        float m = beta1 * mean[i] + (1.0f - beta1) * g;
        float s = beta2 * square[i] + (1.0f - beta2) * g * g;
        /* Denormal numbers, as the means of weights that no longer learn become, take the processor
         * a hundred times as long, so they are zero. */
        m = fabsf(m) < FLT_MIN ? 0.0f : m;
        s = s < FLT_MIN ? 0.0f : s;
        mean[i] = m;
        square[i] = s;
        weight[i] -= rate * m / (sqrtf(s) + epsilon);
    }
}

/* Called by the engine, which passes a context that is of no use here. */
void adam_run(void *context, void *update) {
    const Update *u = update;
    (void)context;
#pragma omp parallel for num_threads(u->threads) schedule(static)
    for (int part = 0; part < u->threads; part++)
        for (int k = 0; k < u->count; k++) {
            const Array *a = &u->arrays[k];
            update_range(u, a, a->size * part / u->threads, a->size * (part + 1) / u->threads);
        }
}

/* A copy that lives until the engine has run it and calls adam_free. */
void *adam_copy(const Update *update) {
    const size_t bytes = sizeof(Update) + update->count * sizeof(Array);
    void *copy = malloc(bytes);
    return copy ? memcpy(copy, update, bytes) : NULL;
}

void adam_free(void *update) { free(update); }
