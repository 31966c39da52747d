/*
 * protoc-gen-cstub: protoc --plugin=protoc-gen-cstub --cstub_out=DIR x.proto
 *
 * cstub-protoc, the script beside it, uses it as a filter of descriptor sets too.
 */
#include "plugin/plugin.h"
#include "plugin/rewrite.h"
#include "plugin/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: protoc --plugin=protoc-gen-cstub --cstub_out=DIR [--cstub_opt=...] FILE.proto...\n"
    "       protoc-gen-cstub --rewrite [OPTIONS] <SET >SET   makes a FileDescriptorSet one that\n"
    "                                                        protoc-c takes; as --cstub_opt says\n"
    "       protoc-gen-cstub --braces <SET                   prints what of protoc-c's C is to be\n"
    "                                                        mended, for sed\n"
    "       protoc-gen-cstub --defaults <SET                 the same of a set that was not rewritten\n"
    "       protoc-gen-cstub --files <SET                    prints the names of its files\n"
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
    bool rewrite = argc > 1 && argc < 4 && strcmp(argv[1], "--rewrite") == 0;
    bool braces = argc == 2 && strcmp(argv[1], "--braces") == 0;
    bool defaults = argc == 2 && strcmp(argv[1], "--defaults") == 0;
    bool files = argc == 2 && strcmp(argv[1], "--files") == 0;
    struct text input = {0};
    char buffer[65536];
    uint8_t *output;
    size_t n;
    bool ok;

    if (argc > 1 && !rewrite && !braces && !defaults && !files) {
        fputs(usage, stderr);
        return 2;
    }
    while ((n = fread(buffer, 1, sizeof(buffer), stdin)) > 0)
        text_add(&input, buffer, n);
    if (rewrite)
        ok = rewrite_set(slice_of(input.data, input.len), argv[2], &output, &n);
    else if (braces)
        ok = rewrite_braces(slice_of(input.data, input.len), &output, &n);
    else if (defaults)
        ok = rewrite_defaults(slice_of(input.data, input.len), &output, &n);
    else if (files)
        ok = rewrite_files(slice_of(input.data, input.len), &output, &n);
    else
        ok = plugin_run(slice_of(input.data, input.len), &output, &n);
    text_done(&input);
    if (!ok) {
        fprintf(stderr, "protoc-gen-cstub: stdin holds no %s\n",
                argc > 1 ? "FileDescriptorSet" : "CodeGeneratorRequest; protoc runs this");
        return 1;
    }
    ok = write_all(output, n);
    free(output);
    return ok ? 0 : 1;
}
