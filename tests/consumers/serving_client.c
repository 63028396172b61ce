/* Runs a signature of a SavedModel through TensorFlow's C interface, as a server written in C would.

       serving_client SAVED_MODEL SIGNATURE OUTPUT RESULT images FILE N H W     (FILE: float32 numbers [N, H, W, 3])
       serving_client SAVED_MODEL SIGNATURE OUTPUT RESULT image_bytes FILE...   (an image file each)

   It writes the float32 output to RESULT. The names of tensors come from the signature in the MetaGraphDef, whose
   protocol buffers are read by hand. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static void fail(const char* reason, const char* detail) {
  fprintf(stderr, "%s: %s\n", reason, detail);
  exit(1);
}

static void check(const TF_Status* status, const char* what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

static void* allocate(size_t size) {
  void* memory = malloc(size + 1);
  if (memory == NULL) fail("out of memory", "malloc");
  return memory;
}

/* ---- Protocol buffers: a message is a row of fields, each a tag (number * 8 + wire type) and a value. ---- */

typedef struct {
  const uint8_t* data;
  size_t size;
} Bytes;

static uint64_t read_varint(Bytes* message) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (message->size == 0) fail("MetaGraphDef", "it ends within a number");
    const uint8_t byte = *message->data++;
    message->size--;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  fail("MetaGraphDef", "a number has more than 64 bits");
  return 0;
}

/* Takes the next field off a message: its number, and its value for a varint or its bytes. Returns 0 at the end. */
static int next_field(Bytes* message, uint64_t* number, uint64_t* value, Bytes* bytes) {
  if (message->size == 0) return 0;
  const uint64_t tag = read_varint(message);
  *number = tag >> 3;
  *value = 0;
  bytes->data = message->data;
  switch (tag & 7) {
    case 0:
      *value = read_varint(message);
      bytes->size = 0;
      return 1;
    case 1:
      bytes->size = 8;
      break;
    case 2:
      bytes->size = read_varint(message);
      bytes->data = message->data;
      break;
    case 5:
      bytes->size = 4;
      break;
    default:
      fail("MetaGraphDef", "unknown wire type");
  }
  if (bytes->size > message->size) fail("MetaGraphDef", "it ends within a field");
  message->data += bytes->size;
  message->size -= bytes->size;
  return 1;
}

/* Returns the value for `key` of the map that is field `map` of a message. */
static Bytes lookup(Bytes message, uint64_t map, const char* key) {
  uint64_t number, value;
  Bytes entry;
  while (next_field(&message, &number, &value, &entry)) {
    if (number != map) continue;
    Bytes found_key = {NULL, 0}, found = {NULL, 0}, field;
    while (next_field(&entry, &number, &value, &field)) {
      if (number == 1) found_key = field;
      if (number == 2) found = field;
    }
    if (found_key.size == strlen(key) && memcmp(found_key.data, key, found_key.size) == 0) return found;
  }
  fail("the SavedModel has no such key", key);
  return message;
}

/* Splits the name "operation:index" in a TensorInfo and finds the operation; sets the type of the tensor. */
static TF_Output find_tensor(TF_Graph* graph, Bytes info, uint64_t* dtype) {
  uint64_t number, value;
  Bytes field;
  char name[512] = "";
  while (next_field(&info, &number, &value, &field)) {
    if (number == 1 && field.size < sizeof(name)) memcpy(name, field.data, field.size);
    if (number == 2) *dtype = value;
  }
  TF_Output output = {NULL, 0};
  char* colon = strrchr(name, ':');
  if (colon != NULL) {
    output.index = atoi(colon + 1);
    *colon = '\0';
  }
  output.oper = TF_GraphOperationByName(graph, name);
  if (output.oper == NULL) fail("the graph has no such operation", name);
  return output;
}

/* ---- Tensors ---- */

static Bytes read_file(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) fail("cannot open", path);
  fseek(file, 0, SEEK_END);
  const size_t size = (size_t)ftell(file);
  rewind(file);
  uint8_t* data = allocate(size);
  if (fread(data, 1, size, file) != size) fail("cannot read", path);
  fclose(file);
  return (Bytes){data, size};
}

static TF_Tensor* float_tensor(char** arguments) {
  const Bytes file = read_file(arguments[0]);
  const int64_t shape[4] = {atoll(arguments[1]), atoll(arguments[2]), atoll(arguments[3]), 3};
  if ((int64_t)file.size != 4 * shape[0] * shape[1] * shape[2] * 3) fail("not float32 [N, H, W, 3]", arguments[0]);
  TF_Tensor* tensor = TF_AllocateTensor(TF_FLOAT, shape, 4, file.size);
  memcpy(TF_TensorData(tensor), file.data, file.size);
  free((void*)file.data);
  return tensor;
}

static TF_Tensor* string_tensor(char** paths, int count) {
  const int64_t shape[1] = {count};
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, shape, 1, (size_t)count * sizeof(TF_TString));
  TF_TString* strings = TF_TensorData(tensor);
  for (int k = 0; k < count; k++) {
    const Bytes file = read_file(paths[k]);
    TF_TString_Init(&strings[k]);
    TF_TString_Copy(&strings[k], (const char*)file.data, file.size);
    free((void*)file.data);
  }
  return tensor;
}

int main(int argc, char** argv) {
  if (argc < 7) fail("arguments", "SAVED_MODEL SIGNATURE OUTPUT RESULT INPUT FILE...");
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Buffer* meta_graph = TF_NewBuffer();
  const char* tags[] = {"serve"};
  TF_Session* session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, meta_graph, status);
  check(status, "cannot load");

  /* MetaGraphDef.signature_def is field 5; SignatureDef.inputs is field 1, .outputs field 2. */
  const Bytes meta = {meta_graph->data, meta_graph->length};
  const Bytes signature = lookup(meta, 5, argv[2]);
  uint64_t input_type = 0, output_type = 0;
  const TF_Output input = find_tensor(graph, lookup(signature, 1, argv[5]), &input_type);
  const TF_Output output = find_tensor(graph, lookup(signature, 2, argv[3]), &output_type);
  if (output_type != TF_FLOAT) fail("the output is no float32", argv[3]);

  TF_Tensor* value = NULL;
  if (input_type == TF_FLOAT && argc == 10) value = float_tensor(argv + 6);
  if (input_type == TF_STRING) value = string_tensor(argv + 6, argc - 6);
  if (value == NULL) fail("the arguments do not fit the input", argv[5]);
  TF_Tensor* result = NULL;
  TF_SessionRun(session, NULL, &input, &value, 1, &output, &result, 1, NULL, 0, NULL, status);
  check(status, "cannot run");

  FILE* file = fopen(argv[4], "wb");
  if (file == NULL) fail("cannot open", argv[4]);
  if (fwrite(TF_TensorData(result), 1, TF_TensorByteSize(result), file) != TF_TensorByteSize(result) || fclose(file))
    fail("cannot write", argv[4]);
  TF_DeleteTensor(value);
  TF_DeleteTensor(result);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteBuffer(meta_graph);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
