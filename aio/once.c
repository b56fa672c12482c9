/* fuaio.aio._once: one request of one buffer, from Python to C and back, with nothing in between.
 *
 * The rest of the binding is cffi's. There a buffer becomes an object of its own and each argument
 * is looked at in a general way, which takes a third of the time that a durable write to memory
 * does. This function does what cffi would for fuaio_request_once, and no more; the function is
 * called through its address, so that there is one copy of the core. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "engine.h"

struct fuaio_queue;
struct fuaio_request;

/* As core.cdef declares it. */
typedef int64_t (*once_function)(struct fuaio_queue *queue, int op, int fua, int64_t offset, void *memory,
				 size_t length, struct fuaio_request **kept);

enum argument { QUEUE, PLACE, OP, FUA, OFFSET, DATA, CALL, ARGUMENTS };

static void let_go(PyObject *capsule)
{
	Py_buffer *buffer = PyCapsule_GetPointer(capsule, NULL);

	PyBuffer_Release(buffer);
	PyMem_Free(buffer);
}

/* The request is not done, or failed: the kernel may still use the memory, so `call` gets this very
 * export, since another one of the same object may be of other memory, and before any Python, a
 * signal handler too, can run. Where there is no memory for that, nobody ever lets go. */
static void hold(PyObject *call, const Py_buffer *buffer)
{
	Py_buffer *kept = PyMem_Malloc(sizeof(*kept));
	PyObject *capsule;

	if (!kept)
		return;
	*kept = *buffer;
	capsule = PyCapsule_New(kept, NULL, let_go);
	if (capsule && PyObject_SetAttrString(call, "kept", capsule) == 0)
		Py_DECREF(capsule);
	PyErr_Clear();
}

/* Set once, before anybody calls. */
static once_function request_once;

static PyObject *once(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	Py_buffer buffer;
	struct fuaio_queue *queue;
	struct fuaio_request **place;
	int64_t offset, done;
	int op, fua, beyond;

	(void)module;
	if (count != ARGUMENTS) {
		PyErr_Format(PyExc_TypeError, "%d arguments are wanted, not %zd", ARGUMENTS, count);
		return NULL;
	}
	queue = PyLong_AsVoidPtr(args[QUEUE]);
	place = PyLong_AsVoidPtr(args[PLACE]);
	op = (int)PyLong_AsLong(args[OP]);
	fua = PyObject_IsTrue(args[FUA]);
	/* One that is too far below zero is -1, and negative all the same. */
	offset = PyLong_AsLongLongAndOverflow(args[OFFSET], &beyond);
	if (beyond > 0)
		PyErr_SetString(PyExc_OverflowError, "the offset does not fit 64 bits");
	if (PyErr_Occurred())
		return NULL;
	if (PyObject_GetBuffer(args[DATA], &buffer, op == FUAIO_READ ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
		return NULL;
	if (!buffer.len && offset >= 0) {
		PyBuffer_Release(&buffer);
		Py_RETURN_NONE;
	}
	Py_BEGIN_ALLOW_THREADS
	done = request_once(queue, op, fua, offset, buffer.buf, (size_t)buffer.len, place);
	Py_END_ALLOW_THREADS
	if (done < 0 && *place)
		hold(args[CALL], &buffer);
	else
		PyBuffer_Release(&buffer);
	return PyLong_FromLongLong(done);
}

static PyObject *bind(PyObject *module, PyObject *address)
{
	void *number = PyLong_AsVoidPtr(address);

	(void)module;
	if (!number)
		return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "no address of a function");
	memcpy(&request_once, &number, sizeof(number)); /* C has no cast from the one kind to the other */
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{ "bind", bind, METH_O, "bind(address): of fuaio_request_once, for all that once does." },
	{ "once", (PyCFunction)(void (*)(void))once, METH_FASTCALL,
	  "once(queue, place, op, fua, offset, data, call): its answer; None for empty data." },
	{ 0 },
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
	{ Py_mod_gil, Py_MOD_GIL_NOT_USED },
#endif
	{ 0 },
};

static struct PyModuleDef module = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_once",
	.m_methods = methods,
	.m_slots = slots,
};

PyMODINIT_FUNC PyInit__once(void);

PyMODINIT_FUNC PyInit__once(void)
{
	return PyModuleDef_Init(&module);
}
