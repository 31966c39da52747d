/* A CodeGeneratorRequest for tests: one file with one message M and one service S { rpc Get }. */
#ifndef HOLDFAST_TESTS_PLUGIN_REQUEST_H
#define HOLDFAST_TESTS_PLUGIN_REQUEST_H

#include <google/protobuf/compiler/plugin.pb-c.h>

/* Points into itself: stays where it is. The texts may be replaced. */
struct request {
    Google__Protobuf__Compiler__CodeGeneratorRequest base;
    Google__Protobuf__FileDescriptorProto file, *files[1];
    Google__Protobuf__DescriptorProto message, *messages[1];
    Google__Protobuf__ServiceDescriptorProto service, *services[1];
    Google__Protobuf__MethodDescriptorProto method, *methods[1];
    char *names[1];
    char name[32], message_name[16], service_name[16], method_name[16], type[16];
};

static inline void request_init(struct request *r)
{
    *r = (struct request){.name = "a.proto", .message_name = "M", .service_name = "S",
                          .method_name = "Get", .type = ".M"};
    google__protobuf__compiler__code_generator_request__init(&r->base);
    google__protobuf__file_descriptor_proto__init(&r->file);
    google__protobuf__descriptor_proto__init(&r->message);
    google__protobuf__service_descriptor_proto__init(&r->service);
    google__protobuf__method_descriptor_proto__init(&r->method);
    r->method.name = r->method_name;
    r->method.input_type = r->method.output_type = r->type;
    r->methods[0] = &r->method;
    r->service.name = r->service_name;
    r->service.n_method = 1;
    r->service.method = r->methods;
    r->services[0] = &r->service;
    r->message.name = r->message_name;
    r->messages[0] = &r->message;
    r->file.name = r->name;
    r->file.n_service = 1;
    r->file.service = r->services;
    r->file.n_message_type = 1;
    r->file.message_type = r->messages;
    r->files[0] = &r->file;
    r->base.n_proto_file = 1;
    r->base.proto_file = r->files;
    r->names[0] = r->name;
    r->base.n_file_to_generate = 1;
    r->base.file_to_generate = r->names;
}

#endif
