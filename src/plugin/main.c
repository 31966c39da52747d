/*
 * protoc-gen-cstub: protoc --plugin=protoc-gen-cstub --cstub_out=DIR x.proto
 *
 * cstub-protoc, the script beside it, uses it as a filter of descriptor sets too.
 */
#include "plugin/optional.h"
#include "plugin/plugin.h"
#include "plugin/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: protoc --plugin=protoc-gen-cstub --cstub_out=DIR [--cstub_opt=...] FILE.proto...\n"
    "       protoc-gen-cstub --rewrite <SET >SET   takes proto3 `optional` and services out of a\n"
    "                                              FileDescriptorSet, for protoc-c\n"
    "       protoc-gen-cstub --files <SET          prints the names of its files\n"
    "cstub-protoc does all of it for you.\n";

static bool write_all(const uint8_t *bytes, size_t count)
{
    if (fwrite(bytes, 1, count, stdout) == count && fflush(stdout) == 0)
        return true;
    perror("protoc-gen-cstub: stdout");
    return false;
}

int main(int argc, char **argv)
{
    bool (*filter)(struct slice, uint8_t **, size_t *) = plugin_run;
    const char *wanted = "CodeGeneratorRequest; protoc runs this";
    struct text input = {0};
    char buffer[65536];
    uint8_t *output;
    size_t n;
    bool ok;

    if (argc == 2 && strcmp(argv[1], "--rewrite") == 0) {
        filter = optional_rewrite;
        wanted = "FileDescriptorSet";
    } else if (argc == 2 && strcmp(argv[1], "--files") == 0) {
        filter = optional_files;
        wanted = "FileDescriptorSet";
    } else if (argc > 1) {
        fputs(usage, stderr);
        return 2;
    }
    while ((n = fread(buffer, 1, sizeof(buffer), stdin)) > 0)
        text_add(&input, buffer, n);
    if (!filter(slice_of(input.data, input.len), &output, &n)) {
        fprintf(stderr, "protoc-gen-cstub: stdin holds no %s\n", wanted);
        text_done(&input);
        return 1;
    }
    ok = write_all(output, n);
    free(output);
    text_done(&input);
    return ok ? 0 : 1;
}
