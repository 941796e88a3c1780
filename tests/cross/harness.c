// Runs a kernel of a DLL on arrays from a file, and writes the arrays to another: harness DLL BEFORE AFTER.
//
// BEFORE: the numbers of the layout, the positions of its pointers, the scalars, each after how many there are, and the
// bytes of each array after their number. AFTER: what the kernel returns, as 64 bits, and the bytes of all arrays.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

static FILE *before;

static int64_t number(void) {
    int64_t value;
    if (fread(&value, sizeof value, 1, before) != 1) exit(3);
    return value;
}

// Returns so many bytes of the file, in memory that is aligned as torch's is.
static char *bytes(int64_t n) {
    char *found = _aligned_malloc((size_t)n + 64, 64);
    if (fread(found, 1, (size_t)n, before) != (size_t)n) exit(4);
    return found;
}

int main(int count, char **names) {
    const HMODULE library = LoadLibraryA(names[1]);
    int (*run)(void *, void *) = library ? (int (*)(void *, void *))(void *)GetProcAddress(library, "run") : 0;
    if (count != 4 || !run) {
        fprintf(stderr, "no function run in %s: error %lu\n", names[1], GetLastError());
        return 2;
    }
    before = fopen(names[2], "rb");
    FILE *const after = fopen(names[3], "wb");
    int64_t *const layout = (int64_t *)bytes(8 * number());
    const int64_t arrays = number();
    const int64_t *const positions = (int64_t *)bytes(8 * arrays);
    char *const scalars = bytes(8 * number());
    int64_t *const sizes = calloc((size_t)arrays + 1, sizeof *sizes);
    for (int64_t i = 0; i < arrays; i++) {
        sizes[i] = number();
        layout[positions[i]] = (int64_t)bytes(sizes[i]);
    }
    const int64_t returned = run(layout, scalars);
    fwrite(&returned, sizeof returned, 1, after);
    for (int64_t i = 0; i < arrays; i++) fwrite((char *)layout[positions[i]], 1, (size_t)sizes[i], after);
    return fclose(after);
}
