// How XLA calls a kernel: a handler of its foreign function interface, against the header of jaxlib. A call names its kernel by
// the hash of the kernel's source, which `add` has put into a table; handler.py says what else a call carries.

#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(_WIN32)
__declspec(dllimport) int __stdcall SwitchToThread(void);
#define YIELD() SwitchToThread()
#else
#include <sched.h>
#define YIELD() sched_yield()
#endif

// as kernel.h declares it; a layout is seen as its numbers here, the first four of which are these
typedef int (*Part)(const int64_t *layout, const double *scalars, int64_t number, uint64_t mode);
enum { THREADS, STEPS, NEURONS, ROWS, FEWEST };

// The kernels of this process, in a list for each first byte of a hash. What was added stays, so that readers need no lock.
typedef struct Kernel {
    struct Kernel *next;
    Part part;
    char hash[HASH];
} Kernel;
static Kernel *kernels[256];

static Kernel **list_of(const char *hash) {
    const char first[3] = {hash[0], hash[1], 0};
    return &kernels[strtoul(first, 0, 16) & 255];
}

static Part find(const char *hash) {
    for (Kernel *kernel = __atomic_load_n(list_of(hash), __ATOMIC_ACQUIRE); kernel; kernel = kernel->next)
        if (!memcmp(kernel->hash, hash, HASH)) return kernel->part;
    return 0;
}

// Adds a kernel; returns zero if there is no memory.
int add(const char *hash, Part part) {
    if (find(hash)) return 1;
    Kernel *const kernel = malloc(sizeof *kernel);
    if (!kernel) return 0;
    memcpy(kernel->hash, hash, HASH);
    kernel->part = part;
    Kernel **const list = list_of(hash);
    kernel->next = __atomic_load_n(list, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(list, &kernel->next, kernel, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    return 1;
}

// Builds the kernel of a request in Python, and adds it; otherwise leaves a message.
typedef void (*Build)(const char *request, int64_t length, const char *hash, char *message, int64_t room);
static Build build;

void build_with(Build function) { build = function; }

// The work of a call. Threads take shares of it until none is left. Whoever holds it may look whether there are shares
// left: a thread of the pool may come late, when the call has long returned.
typedef struct {
    Part part;
    const double *scalars;
    int64_t next;     // share that no thread has taken yet
    int64_t running;  // shares that are not done
    int64_t holders;
    int64_t layout[];
} Work;

static void take_shares(Work *work) {
    for (int64_t number; (number = __atomic_fetch_add(&work->next, 1, __ATOMIC_RELAXED)) < work->layout[THREADS];) {
        // XLA's threads take subnormal numbers for zero
        work->part(work->layout, work->scalars, number, float_mode() & ~(uint64_t)FLUSHES);
        __atomic_sub_fetch(&work->running, 1, __ATOMIC_RELEASE);
    }
}

static void let_go(Work *work) {
    if (!__atomic_sub_fetch(&work->holders, 1, __ATOMIC_ACQ_REL)) free(work);
}

static void task(void *work) {
    take_shares(work);
    let_go(work);
}

// The arguments of a function of XLA's, which begin with their own size.
#define ARGUMENTS(kind, ...) &(kind){.struct_size = kind##_STRUCT_SIZE, __VA_ARGS__}

static XLA_FFI_Error *failed(const XLA_FFI_CallFrame *frame, XLA_FFI_Error_Code code, const char *message) {
    return frame->api->XLA_FFI_Error_Create(ARGUMENTS(XLA_FFI_Error_Create_Args, .message = message, .errc = code));
}

// Returns whether a call of XLA's has succeeded.
static int succeeded(const XLA_FFI_CallFrame *frame, XLA_FFI_Error *error) {
    if (!error) return 1;
    frame->api->XLA_FFI_Error_Destroy(ARGUMENTS(XLA_FFI_Error_Destroy_Args, .error = error));
    return 0;
}

static int64_t threads_of(const XLA_FFI_CallFrame *frame, const int64_t *records) {
    int64_t number = 1;
    if (records[STEPS] * records[NEURONS] * records[ROWS] <= SERIAL) return 1;
    XLA_FFI_Error *const error = frame->api->XLA_FFI_ThreadPool_NumThreads(
        ARGUMENTS(XLA_FFI_ThreadPool_NumThreads_Args, .ctx = frame->ctx, .num_threads = &number)
    );
    return succeeded(frame, error) && number > 1 ? number : 1;
}

// Runs a work on this thread and on those of XLA's pool that are free. It waits for shares that other threads are at, and
// never for a thread to come: all threads of the pool may be in calls like this one.
static void run(const XLA_FFI_CallFrame *frame, Work *work) {
    for (int64_t helper = 1; helper < work->layout[THREADS]; helper++) {
        __atomic_add_fetch(&work->holders, 1, __ATOMIC_RELAXED);
        XLA_FFI_Error *const error = frame->api->XLA_FFI_ThreadPool_Schedule(
            ARGUMENTS(XLA_FFI_ThreadPool_Schedule_Args, .ctx = frame->ctx, .task = task, .data = work)
        );
        if (!succeeded(frame, error)) {
            let_go(work);
            break;
        }
    }
    take_shares(work);
    for (int looks = 0; __atomic_load_n(&work->running, __ATOMIC_ACQUIRE); looks++)
        if (looks >= 1000) YIELD();
    let_go(work);
}

static int64_t bytes_of(const XLA_FFI_Buffer *buffer) {
    int64_t size = 1;
    switch (buffer->dtype) {
    case XLA_FFI_DataType_F64: case XLA_FFI_DataType_S64: size = 8; break;
    case XLA_FFI_DataType_F32: case XLA_FFI_DataType_S32: size = 4; break;
    case XLA_FFI_DataType_F16: case XLA_FFI_DataType_BF16: size = 2; break;
    default: break;
    }
    for (int64_t axis = 0; axis < buffer->rank; axis++) size *= buffer->dims[axis];
    return size;
}

// Asks the system to back a result by huge pages, as core/memory.py does for torch: Linux maps fresh memory at the first write to
// each page, which takes longer than the kernel's arithmetic for it. All of a result is about to be written.
static void prefer_huge_pages(const XLA_FFI_Buffer *result) {
    const uintptr_t huge = 1 << 21, start = (uintptr_t)result->data, size = (uintptr_t)bytes_of(result);
    const uintptr_t first = (start + huge - 1) & ~(huge - 1), end = (start + size) & ~(huge - 1);
    if (size < 2 * huge) return;
#if defined(MADV_HUGEPAGE)
    (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
#else
    (void)first, (void)end;
#endif
}

// Returns an attribute of a call, or null if it is not there in this form.
static const void *attribute(const XLA_FFI_Attrs *attributes, const char *name, XLA_FFI_AttrType type) {
    for (int64_t i = 0; i < attributes->size; i++)
        if (attributes->names[i]->len == strlen(name) && !memcmp(attributes->names[i]->ptr, name, strlen(name)))
            return attributes->types[i] == type ? attributes->attrs[i] : 0;
    return 0;
}

static const XLA_FFI_Array *numbers(const XLA_FFI_Attrs *attributes, const char *name, XLA_FFI_DataType dtype) {
    const XLA_FFI_Array *const found = attribute(attributes, name, XLA_FFI_AttrType_ARRAY);
    return found && found->dtype == dtype ? found : 0;
}

XLA_FFI_Error *handler(XLA_FFI_CallFrame *frame) {
    // XLA asks once which version of its interface this is
    if (frame->extension_start && frame->extension_start->type == XLA_FFI_Extension_Metadata) {
        XLA_FFI_Metadata *const metadata = ((XLA_FFI_Metadata_Extension *)frame->extension_start)->metadata;
        metadata->api_version.major_version = XLA_FFI_API_MAJOR;
        metadata->api_version.minor_version = XLA_FFI_API_MINOR;
        metadata->traits = 0;
        metadata->state_type_id.type_id = 0;
        return 0;
    }
    const XLA_FFI_ByteSpan *const hash = attribute(&frame->attrs, "kernel", XLA_FFI_AttrType_STRING);
    const XLA_FFI_ByteSpan *const request = attribute(&frame->attrs, "request", XLA_FFI_AttrType_STRING);
    const XLA_FFI_Array *const records = numbers(&frame->attrs, "records", XLA_FFI_DataType_S64);
    const XLA_FFI_Array *const pointers = numbers(&frame->attrs, "pointers", XLA_FFI_DataType_S64);
    const XLA_FFI_Array *const scalars = numbers(&frame->attrs, "scalars", XLA_FFI_DataType_F64);
    const int64_t given = frame->args.size, arrays = given + frame->rets.size;
    int known = hash && request && records && pointers && scalars && hash->len == HASH && records->size > FEWEST &&
        pointers->size == (size_t)arrays;
    const int64_t *const numbers_of = known ? records->data : 0, *const positions = known ? pointers->data : 0;
    for (int64_t i = 0; known && i < arrays; i++) known = (uint64_t)positions[i] < records->size;
    if (!known) return failed(frame, XLA_FFI_Error_Code_INVALID_ARGUMENT, FOREIGN);
    if (!numbers_of[NEURONS] || !numbers_of[ROWS]) return 0;

    Part part = find(hash->ptr);
    if (!part) {
        char message[4096] = "";
        const uint64_t mode = float_mode();
        set_float_mode(mode & ~(uint64_t)FLUSHES);  // Python reads the numbers of the program
        build(request->ptr, (int64_t)request->len, hash->ptr, message, sizeof message);
        set_float_mode(mode);
        if (*message) return failed(frame, XLA_FFI_Error_Code_FAILED_PRECONDITION, message);
        part = find(hash->ptr);
        if (!part) return failed(frame, XLA_FFI_Error_Code_INTERNAL, FOREIGN);
    }
    Work *const work = malloc(sizeof *work + records->size * sizeof *work->layout);
    if (!work) return failed(frame, XLA_FFI_Error_Code_RESOURCE_EXHAUSTED, "spikingtorch: there is no memory for a call");
    const int64_t threads = threads_of(frame, numbers_of);
    *work = (Work){.part = part, .scalars = scalars->data, .running = threads, .holders = 1};
    memcpy(work->layout, numbers_of, records->size * sizeof *work->layout);
    work->layout[THREADS] = threads;
    for (int64_t i = 0; i < arrays; i++) {
        const XLA_FFI_Buffer *const buffer = i < given ? frame->args.args[i] : frame->rets.rets[i - given];
        work->layout[positions[i]] = (int64_t)(intptr_t)buffer->data;
    }
    for (int64_t i = 0; i < frame->rets.size; i++) prefer_huge_pages(frame->rets.rets[i]);
    run(frame, work);
    return 0;
}
