// Stands in for libfdb_c at link time: each fdb_* symbol jumps to where the real library, loaded at run time,
// has it. The jump leaves every register and the stack as they are, so it serves any signature.

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

// Where a symbol leads before the library is loaded, or when the library does not have it.
__attribute__((visibility("hidden"))) void tidemark_fdb_missing(void) {
    fputs("tidemark: a FoundationDB function was called that no client library provides\n", stderr);
    abort();
}

#define X(name) \
    __attribute__((visibility("hidden"))) void *tidemark_to_##name = (void *)tidemark_fdb_missing;
#include "symbols.h"
#undef X

#if defined(__x86_64__)
#define JUMP(name) "    jmp *tidemark_to_" #name "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(name)                                       \
    "    adrp x16, tidemark_to_" #name "\n"              \
    "    ldr x16, [x16, :lo12:tidemark_to_" #name "]\n"  \
    "    br x16\n"
#else
#error "write the jump for this architecture"
#endif

#define X(name)                          \
    __asm__(".text\n"                    \
            ".globl " #name "\n"         \
            ".type " #name ", %function\n" \
            #name ":\n" JUMP(name)       \
            ".size " #name ", .-" #name "\n");
#include "symbols.h"
#undef X

// Loads the library and points every symbol into it. NULL on success, else what is wrong, for ever valid
// or until the next dl* call of this thread. Call it once, before any fdb_* function.
const char *tidemark_fdb_load(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return dlerror();
    }
    if (dlsym(library, "fdb_select_api_version_impl") == NULL) {
        dlclose(library);
        return "it is not a FoundationDB client library";
    }
#define X(name)                                    \
    {                                              \
        void *found = dlsym(library, #name);       \
        if (found != NULL) tidemark_to_##name = found; \
    }
#include "symbols.h"
#undef X
    return NULL;
}
